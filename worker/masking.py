"""What Flower, `inspect` and Celery's events may show of a CRM's task: which message, never its text or number."""

import time
from typing import Any

from celery.worker.request import Request

from worker.domain.phone import mask_recipient

#: Arguments that identify a message without telling what it says or to whom.
SHOWN = frozenset(
    {"message_id", "channel", "pool", "region", "priority", "send_after", "expires_at", "on_doubt", "failover"}
)
_LONGEST_SHOWN = 64


def masked_arguments(kwargs: Any) -> dict[str, str]:
    """The arguments of `truetick.send_message`, fit to be shown. Never raises, whatever a caller has sent."""
    if not isinstance(kwargs, dict):
        return {}
    shown = {}
    for name, value in list(kwargs.items())[:40]:
        if name == "to":
            shown["to"] = mask_recipient(value)
        elif name in SHOWN:
            shown[str(name)] = str(value)[:_LONGEST_SHOWN]
        else:
            shown[str(name)[:_LONGEST_SHOWN]] = "***"
    return shown


class MaskedRequest(Request):  # type: ignore[misc]
    """A task request that shows masked arguments, also when a foreign client described them in full.

    It notes when the task was taken: tasks are taken in the order of their queue, but stored by several threads.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._argsrepr = "(***)" if self._args else "()"
        self._kwargsrepr = repr(masked_arguments(self._kwargs))
        self._request_dict["argsrepr"] = self._argsrepr
        self._request_dict["kwargsrepr"] = self._kwargsrepr
        self._request_dict["received_monotonic"] = time.monotonic()

    def info(self, safe: bool = False) -> dict[str, Any]:  # noqa: ARG002 - both answers are the masked one
        shown: dict[str, Any] = super().info(safe=True)
        return shown
