"""What a callback says: the message as it is now, with the status that the change gave it."""

import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from worker.callbacks.waiting import Due
from worker.outbox.reading import MessageView

STATUS_CHANGED = "message.status"
TEST = "truetick.test"


@dataclass(frozen=True, kw_only=True)
class Letter:
    """One callback, ready to be told. `id` stays the same however often it is told."""

    id: str
    payload: Mapping[str, Any] = field(repr=False)

    @property
    def body(self) -> str:
        """JSON in ASCII, so that what is signed is what is sent."""
        return json.dumps(self.payload, separators=(",", ":"))


def status_letter(due: Due, message: MessageView) -> Letter:
    """Tell of one status change. The message may have gone on since; `change` says what this is about."""
    change = {"seq": due.feed_no, "status": due.status, "at": _iso(due.at), "previous": due.previous}
    return Letter(
        id=f"change_{due.feed_no}_{message.id}",
        payload={
            "type": STATUS_CHANGED,
            "timestamp": _iso(due.at),
            "data": message.as_json() | {"status": due.status, "change": change},
        },
    )


def trial_letter(endpoint: str, now: datetime) -> Letter:
    """Tell of nothing, so that people see whether an endpoint works."""
    return Letter(
        id=f"test_{secrets.token_hex(12)}",
        payload={"type": TEST, "timestamp": _iso(now), "data": {"endpoint": endpoint}},
    )


def _iso(moment: datetime) -> str:
    return moment.isoformat().replace("+00:00", "Z")
