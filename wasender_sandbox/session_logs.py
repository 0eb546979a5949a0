"""Message logs and session logs (personal access token): Laravel pages, ids as strings, JSON inside strings."""

import math
from collections.abc import Sequence
from typing import Any, TypeVar

from aiohttp import web

from wasender_sandbox import access, replies
from wasender_sandbox.channels import Channel, SessionEvent
from wasender_sandbox.clock import iso, plain
from wasender_sandbox.ledger import Entry
from wasender_sandbox.world import World

MAX_PER_PAGE = 100

Row = TypeVar("Row")


class LogApi:
    """`/whatsapp-sessions/{id}/message-logs` and `/session-logs`, newest first."""

    def __init__(self, world: World) -> None:
        self._world = world

    def routes(self) -> list[web.RouteDef]:
        one = "/api/whatsapp-sessions/{session_id}"
        return [
            web.get(f"{one}/message-logs", self.message_logs, allow_head=False),
            web.get(f"{one}/session-logs", self.session_logs, allow_head=False),
        ]

    async def message_logs(self, request: web.Request) -> web.Response:
        """Messages sent through the API; `content` and `to` are null while log_messages is off."""
        channel = self._find(request)
        if isinstance(channel, web.Response):
            return channel
        wanted = request.query.get("status")
        entries: Sequence[Entry] = channel.entries
        if wanted:
            entries = [entry for entry in entries if entry.log_status == wanted]
        body, shown = self._page(request, entries)
        body["data"] = [self._message_row(channel, entry) for entry in shown]
        return replies.ok(body)

    async def session_logs(self, request: web.Request) -> web.Response:
        channel = self._find(request)
        if isinstance(channel, web.Response):
            return channel
        body, shown = self._page(request, channel.history)
        body["data"] = [_event_row(channel, event) for event in shown]
        return replies.ok(body)

    def _find(self, request: web.Request) -> Channel | web.Response:
        refusal = access.account_refusal(self._world, request)
        if refusal is not None:
            return refusal
        raw = request.match_info["session_id"]
        channel = self._world.channel_by_id(int(raw)) if raw.isdecimal() else None
        return channel or replies.controller("WhatsApp session not found.", 404)

    def _message_row(self, channel: Channel, entry: Entry) -> dict[str, Any]:
        switches = self._world.switches
        shift = switches.clock_skew_s + switches.log_zone_offset_h * 3600
        own_id = entry.msg_id if switches.log_id_is_msg_id else entry.index + 1001
        return {
            "id": str(own_id),
            "whatsapp_session_id": str(channel.id),
            "to": entry.to if channel.log_messages else None,
            "content": _content(entry) if channel.log_messages else None,
            "status": entry.log_status,
            "failed_reason": entry.failed_reason,
            "created_at": plain(entry.received_at + shift),
            "updated_at": plain(entry.updated_at + shift),
        }

    def _page(self, request: web.Request, rows: Sequence[Row]) -> tuple[dict[str, Any], list[Row]]:
        """The paginator without its data, and the rows of this page, newest first."""
        number = _positive(request.query.get("page"), 1)
        size = min(_positive(request.query.get("per_page"), 10), MAX_PER_PAGE)
        total, first = len(rows), (number - 1) * size
        newest = total - first
        shown = list(reversed(rows[max(newest - size, 0) : newest])) if newest > 0 else []
        path = f"{self._world.origin}{request.path}"
        last = max(math.ceil(total / size), 1)
        body: dict[str, Any] = {
            "current_page": number,
            "data": [],
            "first_page_url": f"{path}?page=1",
            "from": first + 1 if shown else None,
            "last_page": last,
            "last_page_url": f"{path}?page={last}",
            "next_page_url": f"{path}?page={number + 1}" if number < last else None,
            "path": path,
            "per_page": size,
            "prev_page_url": f"{path}?page={number - 1}" if number > 1 else None,
            "to": first + len(shown) if shown else None,
            "total": total,
        }
        return body, shown


def _content(entry: Entry) -> str:
    """The posted fields without the recipient, as JSON text."""
    return replies.compact({name: value for name, value in entry.payload.items() if name != "to"})


def _event_row(channel: Channel, event: SessionEvent) -> dict[str, Any]:
    return {
        "id": event.id,
        "whatsapp_session_id": channel.id,
        "event_type": event.event_type,
        "status": event.status,
        "occurred_at": iso(event.occurred_at),
    }


def _positive(raw: str | None, default: int) -> int:
    return int(raw) if raw and raw.isdecimal() and int(raw) > 0 else default
