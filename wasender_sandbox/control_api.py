"""`/_sandbox/…`: steering the sandbox and reading its records. Not part of WaSender's API; JSON in and out.

Bad input is answered 400 with `{"error": sentence}` by the server, whatever raises ControlError.
"""

from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

from wasender_sandbox import events, faults, replies, reports
from wasender_sandbox.channels import Channel
from wasender_sandbox.errors import ControlError
from wasender_sandbox.gateway import Gateway
from wasender_sandbox.json_body import parse_object
from wasender_sandbox.recipients import digits_of
from wasender_sandbox.settings import apply_settings
from wasender_sandbox.spans import Span
from wasender_sandbox.world import WebhookTrouble

CHANCES = ("lost", "doubled", "reordered", "early")


class ControlApi:
    """Handlers of the control API."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._world = gateway.world

    def routes(self) -> list[web.RouteDef]:
        post: list[tuple[str, Callable[[web.Request], Awaitable[web.Response]]]] = [
            ("reset", self.reset),
            ("channels", self.create_channel),
            ("channels/{name}", self.change_channel),
            ("channels/{name}/status", self.set_status),
            ("channels/{name}/scan", self.scan),
            ("channels/{name}/mute", self.mute),
            ("channels/{name}/inbound", self.inbound),
            ("latency", self.latency),
            ("faults", self.add_fault),
            ("webhooks", self.trouble),
            ("switches", self.set_switches),
            ("recipients", self.recipients),
        ]
        get: list[tuple[str, Callable[[web.Request], Awaitable[web.Response]]]] = [
            ("health", self.health),
            ("state", self.state),
            ("verdict", self.verdict),
            ("channels", self.list_channels),
            ("faults", self.list_faults),
            ("switches", self.list_switches),
            ("ledger", self.ledger),
            ("requests", self.requests),
        ]
        return [
            *(web.post(f"/_sandbox/{path}", handler) for path, handler in post),
            *(web.get(f"/_sandbox/{path}", handler, allow_head=False) for path, handler in get),
            web.delete("/_sandbox/channels/{name}", self.delete_channel),
            web.delete("/_sandbox/faults", self.clear_faults),
            web.delete("/_sandbox/faults/{id}", self.clear_faults),
        ]

    # --- reading

    async def health(self, _request: web.Request) -> web.Response:
        return replies.bare({"ok": True})

    async def state(self, _request: web.Request) -> web.Response:
        return replies.bare(reports.state(self._gateway))

    async def verdict(self, _request: web.Request) -> web.Response:
        return replies.bare(reports.verdict(self._gateway))

    async def list_channels(self, _request: web.Request) -> web.Response:
        rows = [reports.channel_row(self._gateway, channel) for channel in self._world.channels.values()]
        return replies.bare({"channels": rows})

    async def list_faults(self, _request: web.Request) -> web.Response:
        kinds = {name: {"meaning": kind.meaning, "when": kind.usual} for name, kind in faults.KINDS.items()}
        armed = [fault.to_json() for fault in self._world.faults.armed]
        return replies.bare({"faults": armed, "kinds": kinds})

    async def list_switches(self, _request: web.Request) -> web.Response:
        return replies.bare({"switches": self._world.switches.describe()})

    async def ledger(self, request: web.Request) -> web.Response:
        """Accepted messages: filters channel, to, recipient, msg_id, text, acked; paging after, limit."""
        asked = _Query(request, {"channel", "to", "recipient", "msg_id", "text", "acked", "after", "limit"})
        rows = self._world.ledger.select(
            after=asked.whole("after", -1),
            channel=asked.word("channel"),
            to=asked.word("to"),
            recipient=asked.word("recipient"),
            msg_id=asked.whole("msg_id", 0) or None,
            text=asked.word("text"),
            acked=asked.yes_no("acked"),
        )
        return replies.bare(reports.page(rows, asked.whole("limit", reports.PAGE)))

    async def requests(self, request: web.Request) -> web.Response:
        """POSTs to /send-message: filters channel, to, decision, reason; paging after, limit."""
        asked = _Query(request, {"channel", "to", "decision", "reason", "after", "limit"})
        rows = self._world.attempts.select(
            after=asked.whole("after", -1),
            channel=asked.word("channel"),
            to=asked.word("to"),
            decision=asked.word("decision"),
            reason=asked.word("reason"),
        )
        return replies.bare(reports.page(rows, asked.whole("limit", reports.PAGE)))

    # --- steering

    async def reset(self, _request: web.Request) -> web.Response:
        self._gateway.reset()
        return replies.bare({"ok": True})

    async def create_channel(self, request: web.Request) -> web.Response:
        body = await _object(request)
        name, api_key = body.pop("name", None), body.pop("api_key", None)
        if not isinstance(name, str):
            raise ControlError("A channel needs a name.")
        channel = self._world.add_channel(name, str(api_key) if api_key else None)
        try:
            apply_settings(channel, body)
        except ControlError:
            self._world.remove_channel(channel)
            raise
        channel.record("session_created", self._world.gateway_now())
        return replies.bare(reports.channel_row(self._gateway, channel), 201)

    async def change_channel(self, request: web.Request) -> web.Response:
        channel, body = self._channel(request), await _object(request)
        api_key = body.pop("api_key", None)
        apply_settings(channel, body)
        if api_key:
            self._world.change_key(channel, str(api_key))
        return replies.bare(reports.channel_row(self._gateway, channel))

    async def delete_channel(self, request: web.Request) -> web.Response:
        self._world.remove_channel(self._channel(request))
        return replies.bare({"ok": True})

    async def set_status(self, request: web.Request) -> web.Response:
        """`{"status", "says"?, "quiet"?, "back_after_s"?}`; `says` is what the API claims instead of the truth."""
        channel, body = self._channel(request), await _object(request)
        if "says" in body:
            apply_settings(channel, {"says": body["says"]})
        if "status" in body:
            back = body.get("back_after_s")
            self._gateway.lifecycle.set_status(
                channel,
                str(body["status"]),
                quiet=bool(body.get("quiet", False)),
                back_after_s=None if back is None else _number("back_after_s", back),
            )
        return replies.bare(reports.channel_row(self._gateway, channel))

    async def scan(self, request: web.Request) -> web.Response:
        channel = self._channel(request)
        self._gateway.lifecycle.scan(channel)
        return replies.bare(reports.channel_row(self._gateway, channel))

    async def mute(self, request: web.Request) -> web.Response:
        """`{"on": true, "then"?: "later"|"failed"|"stuck"}`."""
        channel, body = self._channel(request), await _object(request)
        then = body.get("then")
        on = bool(body.get("on", True))
        self._gateway.lifecycle.mute(channel, on, None if then is None else str(then))
        return replies.bare(reports.channel_row(self._gateway, channel))

    async def inbound(self, request: web.Request) -> web.Response:
        """`{"from", "text", "as_lid"?}`: someone writes to the channel; fires the three inbound events."""
        channel, body = self._channel(request), await _object(request)
        sender, text = digits_of(str(body.get("from", ""))), body.get("text")
        if not sender or not isinstance(text, str):
            raise ControlError("An inbound message needs from (a number) and text.")
        key_id = f"3A{self._world.rng.getrandbits(64):016X}"
        data = events.inbound_data(sender, text, key_id, self._world.gateway_now(), as_lid=bool(body.get("as_lid")))
        for event in ("messages.received", "messages-personal.received"):
            self._gateway.webhooks.emit(channel, event, data, unit="seconds")
        message = data["messages"]
        shaped = [message] if self._world.switches.upsert_shape == "array" else message
        self._gateway.webhooks.emit(channel, "messages.upsert", {"messages": shaped}, unit="seconds")
        return replies.bare({"ok": True, "key_id": key_id})

    async def latency(self, request: web.Request) -> web.Response:
        """`{"before"?, "after"?, "channel"?}`: seconds or ranges around the work of a send."""
        body = await _object(request)
        spans = {when: Span.parse(body[when]) for when in ("before", "after") if body.get(when) is not None}
        if body.get("channel") is None:
            self._world.latency_before = spans.get("before", self._world.latency_before)
            self._world.latency_after = spans.get("after", self._world.latency_after)
        else:
            channel = self._world.channel(str(body["channel"]))
            channel.latency_before = spans.get("before", channel.latency_before)
            channel.latency_after = spans.get("after", channel.latency_after)
        return replies.bare({"ok": True})

    async def add_fault(self, request: web.Request) -> web.Response:
        """`{"kind", …}` with the fields of `Faults.add`."""
        body = await _object(request)
        kind = str(body.pop("kind", ""))
        if body.get("channel") is not None:
            self._world.channel(str(body["channel"]))
        try:
            fault = self._world.faults.add(kind, **body)
        except TypeError as error:
            raise ControlError(f"Fault {kind}: {error}.") from None
        return replies.bare(fault.to_json(), 201)

    async def clear_faults(self, request: web.Request) -> web.Response:
        raw = request.match_info.get("id")
        gone = self._world.faults.clear(int(_number("id", raw)) if raw else None)
        return replies.bare({"cleared": gone})

    async def trouble(self, request: web.Request) -> web.Response:
        """`{"lost"?, "doubled"?, "reordered"?, "early"?, "delay"?, "channel"?}`: chances, and seconds for delay."""
        body = await _object(request)
        name = body.pop("channel", None)
        if name is None:
            trouble = self._world.trouble
        else:
            self._world.channel(str(name))
            trouble = self._world.channel_trouble.setdefault(str(name), WebhookTrouble())
        for what, raw in body.items():
            if what == "delay":
                trouble.delay = Span.parse(raw)
            elif what in CHANCES:
                chance = _number(what, raw)
                if not 0 <= chance <= 1:
                    raise ControlError(f"{what} is a chance from 0 to 1, not {raw!r}.")
                setattr(trouble, what, chance)
            else:
                raise ControlError(f"Webhooks have no trouble {what!r}. Known: {', '.join(CHANCES)}, delay.")
        return replies.bare({"ok": True})

    async def set_switches(self, request: web.Request) -> web.Response:
        """`{name: value, …}`."""
        for name, value in (await _object(request)).items():
            self._world.switches.set(name, value)
        return replies.bare({"switches": self._world.switches.values()})

    async def recipients(self, request: web.Request) -> web.Response:
        """Rules about test numbers; see RecipientRules."""
        self._world.rules.update(await _object(request))
        return replies.bare(self._world.rules.to_json())

    def _channel(self, request: web.Request) -> Channel:
        return self._world.channel(request.match_info["name"])


class _Query:
    """Query parameters, checked against the known names."""

    def __init__(self, request: web.Request, known: set[str]) -> None:
        self._given = request.query
        unknown = [name for name in self._given if name not in known]
        if unknown:
            raise ControlError(f"There is no filter {unknown[0]!r}. Filters: {', '.join(sorted(known))}.")

    def word(self, name: str) -> str | None:
        return self._given.get(name)

    def whole(self, name: str, default: int) -> int:
        raw = self._given.get(name)
        if raw is None:
            return default
        if not raw.removeprefix("-").isdecimal():
            raise ControlError(f"{name} is a whole number, not {raw!r}.")
        return int(raw)

    def yes_no(self, name: str) -> bool | None:
        raw = self._given.get(name)
        return None if raw is None else raw.lower() in {"1", "true", "yes", "on"}


async def _object(request: web.Request) -> dict[str, Any]:
    raw = await request.read()
    body = parse_object(raw)
    if raw.strip() not in {b"", b"{}"} and not body:
        raise ControlError("The body must be a JSON object.")
    return body


def _number(name: str, raw: object) -> float:
    try:
        return float(str(raw))
    except ValueError:
        raise ControlError(f"{name} is a number, not {raw!r}.") from None
