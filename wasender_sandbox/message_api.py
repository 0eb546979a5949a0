"""What the gateway tells about single messages, and edit, delete, resend, read (session key)."""

from aiohttp import web

from wasender_sandbox import access, events, replies
from wasender_sandbox.channels import Channel
from wasender_sandbox.json_body import read_object
from wasender_sandbox.ledger import ERROR, PENDING, SENT, Entry
from wasender_sandbox.recipients import read_recipient
from wasender_sandbox.ticks import INVALID_NUMBER, Ticks
from wasender_sandbox.world import World

#: WhatsApp lets a message be edited for about 15 minutes.
EDITABLE_S = 15 * 60


class MessageApi:
    """`/messages/{msgId}…`."""

    def __init__(self, world: World, ticks: Ticks) -> None:
        self._world = world
        self._ticks = ticks

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/api/messages/{msg_id}/info", self.info, allow_head=False),
            web.post("/api/messages/{msg_id}/resend", self.resend),
            web.post("/api/messages/read", self.mark_read),
            web.put("/api/messages/{msg_id}", self.edit_message),
            web.delete("/api/messages/{msg_id}", self.delete_message),
        ]

    async def info(self, request: web.Request) -> web.Response:
        """Status code and key of a message: the only bridge from msgId to WhatsApp's key.id."""
        channel = access.session_of(self._world, request)
        if isinstance(channel, web.Response):
            return channel
        switches = self._world.switches
        entry = self._find(request)
        if entry is None:
            return _no_information(switches.info_unknown)
        if entry.channel_id != channel.id:
            return _no_information(switches.info_foreign)
        age = self._world.clock.now() - entry.received_at
        expired = 0 < switches.info_expires_after_s < age
        if expired or (entry.status == PENDING and switches.info_in_progress == "not_found"):
            return _no_information(switches.info_unknown)
        with_key = entry.status >= SENT or switches.info_in_progress == "with_key"
        return replies.ok(_info(entry, with_key=with_key))

    async def resend(self, request: web.Request) -> web.Response:
        """Put a failed message back to in_progress; no new msgId."""
        entry = self._own(request)
        if isinstance(entry, web.Response):
            return entry
        if entry.status != ERROR:
            return replies.controller("Only messages with status 'failed' can be resent.", 422)
        entry.status, entry.failed_reason = PENDING, None
        entry.updated_at = self._world.clock.now()
        recipient = read_recipient(entry.to)
        assert recipient is not None
        lost = recipient.digits in self._world.rules.fails_later or not self._world.rules.exists(recipient)
        self._ticks.follow(entry, recipient, failure=INVALID_NUMBER if lost else None)
        return replies.bare({"success": True, "message": "Message resend initiated successfully."})

    async def edit_message(self, request: web.Request) -> web.Response:
        """Change the text for everyone; answers the info object with a protocolMessage of type 14."""
        entry = self._own(request)
        if isinstance(entry, web.Response):
            return entry
        body = await read_object(request)
        text = body.get("text")
        if not isinstance(text, str) or not text:
            errors = {"text": ["The text field is required."]}
            return replies.framework("Validation failed", 422, errors=errors)
        if entry.status < SENT or entry.deleted or self._world.clock.now() - entry.received_at > EDITABLE_S:
            return replies.controller("Message can no longer be edited.", 422)
        entry.edited_text = text
        key = {"id": entry.key_id, "fromMe": True, "remoteJid": entry.recipient_jid}
        data = _info(entry, with_key=True)
        data["message"] = {"protocolMessage": {"key": key, "type": 14, "editedMessage": {"conversation": text}}}
        data["status"] = PENDING
        return replies.ok(data)

    async def delete_message(self, request: web.Request) -> web.Response:
        """Delete for everyone."""
        entry = self._own(request)
        if isinstance(entry, web.Response):
            return entry
        entry.deleted = True
        return replies.bare({"success": True, "message": "Message deleted successfully."})

    async def mark_read(self, request: web.Request) -> web.Response:
        """Mark an inbound message as read; needs its exact key."""
        channel = access.session_of(self._world, request)
        if isinstance(channel, web.Response):
            return channel
        key = (await read_object(request)).get("key")
        if not (isinstance(key, dict) and key.get("id") and key.get("remoteJid")):
            errors = {"key": ["The key field is required."]}
            return replies.framework("Validation failed", 422, errors=errors)
        return replies.ok({"status": "read"})

    def _find(self, request: web.Request) -> Entry | None:
        msg_id = request.match_info["msg_id"]
        return self._world.ledger.find(int(msg_id)) if msg_id.isdecimal() else None

    def _own(self, request: web.Request) -> Entry | web.Response:
        channel: Channel | web.Response = access.session_of(self._world, request)
        if isinstance(channel, web.Response):
            return channel
        entry = self._find(request)
        if entry is None:
            return replies.controller("Message not found.", 404)
        if entry.channel_id != channel.id:
            return replies.controller("You are not authorized to modify this message.", 403)
        return entry


def _no_information(status: int) -> web.Response:
    """F2 with the switched status; 200 makes it a soft failure."""
    words = "You are not authorized to view this message." if status == 403 else "Message not found."
    return replies.controller(words, status)


def _info(entry: Entry, *, with_key: bool) -> dict[str, object]:
    data: dict[str, object] = {
        "remoteJid": entry.recipient_jid,
        "msgId": entry.msg_id,
        "message": events.baileys_message(entry),
        "messageTimestamp": str(int(entry.acked_at or entry.received_at)),
        "status": entry.status,
    }
    if with_key:
        data["id"] = entry.key_id
        data["key"] = {"id": entry.key_id, "fromMe": True, "remoteJid": entry.recipient_jid}
    return data
