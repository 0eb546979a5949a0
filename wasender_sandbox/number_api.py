"""The channel's own state and look-ups of numbers (session key): status, user, on-whatsapp, LIDs, contacts."""

from aiohttp import web

from wasender_sandbox import access, events, rates, replies
from wasender_sandbox.channels import Channel
from wasender_sandbox.json_body import read_object
from wasender_sandbox.recipients import digits_of, read_recipient
from wasender_sandbox.world import World

PRESENCES = {"composing", "recording", "available", "unavailable", "paused"}


class NumberApi:
    """Endpoints that neither send nor change anything.

    `/sessions/{id}/status` and `/contacts/{n}/profile-picture` are what the official Python SDK calls; the
    documentation knows only `/status` and `/contacts/{n}/picture`. Serving both harms nobody.
    """

    def __init__(self, world: World) -> None:
        self._world = world

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/api/status", self.status, allow_head=False),
            web.get("/api/sessions/{session_id}/status", self.status, allow_head=False),
            web.get("/api/user", self.user, allow_head=False),
            web.get("/api/on-whatsapp/{contact}", self.on_whatsapp, allow_head=False),
            web.get("/api/lid-from-pn/{contact}", self.lid_from_pn, allow_head=False),
            web.get("/api/pn-from-lid/{contact}", self.pn_from_lid, allow_head=False),
            web.get("/api/contacts", self.contacts, allow_head=False),
            web.get("/api/contacts/{contact}", self.contact, allow_head=False),
            web.get("/api/contacts/{contact}/picture", self.picture, allow_head=False),
            web.get("/api/contacts/{contact}/profile-picture", self.picture, allow_head=False),
            web.post("/api/contacts/{contact}/block", self.block),
            web.post("/api/contacts/{contact}/unblock", self.unblock),
            web.post("/api/send-presence-update", self.presence),
        ]

    async def status(self, request: web.Request) -> web.Response:
        """`{"status": "connected"}`, without envelope; an unknown key has a text of its own."""
        token = access.bearer(request)
        channel = self._world.by_key.get(token or "")
        if channel is None:
            text = replies.KEY_REQUIRED if token is None else replies.KEY_UNKNOWN_TO_STATUS
            return replies.framework(text, 401)
        word = channel.claimed_status
        return replies.bare({"status": word.upper() if self._world.switches.status_case == "upper" else word})

    async def user(self, request: web.Request) -> web.Response:
        channel = self._ready(request)
        if isinstance(channel, web.Response):
            return channel
        digits = channel.own_digits
        jid = f"{digits}:1@s.whatsapp.net"
        return replies.ok({"id": jid, "name": channel.name, "lid": events.lid_of(digits)})

    async def on_whatsapp(self, request: web.Request) -> web.Response:
        """Whether a number is on WhatsApp; 60 a minute and 1000 a day (trial 10 and 100)."""
        channel = self._ready(request)
        if isinstance(channel, web.Response):
            return channel
        recipient = read_recipient(request.match_info["contact"])
        exists = recipient is not None and self._world.rules.exists(recipient)
        return self._limited(channel, "on-whatsapp", replies.ok({"exists": exists}))

    async def lid_from_pn(self, request: web.Request) -> web.Response:
        channel = self._ready(request)
        if isinstance(channel, web.Response):
            return channel
        digits = digits_of(request.match_info["contact"])
        if not digits:
            return replies.controller("LID not found.", 404)
        return replies.ok({"lid": events.lid_of(digits)})

    async def pn_from_lid(self, request: web.Request) -> web.Response:
        channel = self._ready(request)
        if isinstance(channel, web.Response):
            return channel
        number = events.number_of(request.match_info["contact"])
        if number is None:
            return replies.controller("Phone number not found.", 404)
        return replies.ok({"pn": f"{number}@s.whatsapp.net"})

    async def contacts(self, request: web.Request) -> web.Response:
        channel = self._ready(request)
        if isinstance(channel, web.Response):
            return channel
        known = sorted({entry.recipient_jid for entry in channel.entries if entry.recipient.startswith("+")})
        rows = [{"jid": jid, "id": jid, "name": None, "notify": None, "status": None} for jid in known]
        if request.query.get("paginated") == "true":
            page = {"page": 1, "limit": len(rows), "total": len(rows)}
            return replies.ok({"items": rows, "pagination": page})
        return replies.ok(rows)

    async def contact(self, request: web.Request) -> web.Response:
        channel = self._ready(request)
        if isinstance(channel, web.Response):
            return channel
        jid = f"{digits_of(request.match_info['contact'])}@s.whatsapp.net"
        blank = dict.fromkeys(("name", "notify", "verifiedName", "imgUrl", "status"))
        return replies.ok({"id": jid, **blank})

    async def picture(self, request: web.Request) -> web.Response:
        channel = self._ready(request)
        if isinstance(channel, web.Response):
            return channel
        return self._limited(channel, "picture", replies.ok({"imgUrl": None}))

    async def block(self, request: web.Request) -> web.Response:
        return self._done(request, "Contact blocked successfully.")

    async def unblock(self, request: web.Request) -> web.Response:
        return self._done(request, "Contact unblocked successfully.")

    async def presence(self, request: web.Request) -> web.Response:
        """Echoes jid and type."""
        channel = self._ready(request)
        if isinstance(channel, web.Response):
            return channel
        body = await read_object(request)
        jid, kind = body.get("jid"), body.get("type")
        if not isinstance(jid, str) or read_recipient(jid) is None:
            return replies.controller("Invalid JID.", 422)
        if kind not in PRESENCES:
            errors = {"type": ["The selected type is invalid."]}
            return replies.framework("Validation failed", 422, errors=errors)
        return replies.ok({"jid": jid, "type": kind})

    def _ready(self, request: web.Request) -> Channel | web.Response:
        """The calling channel, if its session is connected."""
        channel = access.session_of(self._world, request)
        if isinstance(channel, Channel) and not channel.connected:
            return access.not_connected(self._world)
        return channel

    def _limited(self, channel: Channel, endpoint: str, answer: web.Response) -> web.Response:
        """The answer, or the 429 when the look-ups of this minute or day are used up."""
        refusal, headers = rates.take_utility_slot(self._world, channel, endpoint)
        answer.headers.update(headers)
        return refusal or answer

    def _done(self, request: web.Request, message: str) -> web.Response:
        channel = self._ready(request)
        return channel if isinstance(channel, web.Response) else replies.ok({"message": message})
