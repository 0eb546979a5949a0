"""How endpoints and their callbacks look on a terminal."""

from collections.abc import Sequence
from datetime import datetime

from worker.callbacks.overview import CallbackView, EndpointStanding
from worker.cli import display

#: From this width on, a message's id fits into one line.
WIDE = 110
_COLOURS = {"ok": "sent", "trouble": "failed", "parked": "pending"}


def show_endpoints(found: Sequence[EndpointStanding], now: datetime) -> None:
    display.table(
        ["endpoint", "state", "address", ">waiting", ">parked", "last taken"],
        [
            [
                endpoint.name,
                display.styled(_COLOURS[endpoint.state], endpoint.state),
                endpoint.address,
                str(endpoint.waiting),
                str(endpoint.parked),
                display.ago(endpoint.last_success_at, now),
            ]
            for endpoint in found
        ],
    )
    for endpoint in found:
        if endpoint.problem:
            display.say(f"{endpoint.name}: {endpoint.problem}", style="yellow")
        if endpoint.parked:
            display.say(
                f"{endpoint.name}: parked callbacks are told again with: truetick callbacks replay {endpoint.name}",
                style="yellow",
            )


def show_callbacks(found: Sequence[CallbackView], now: datetime) -> None:
    display.table(
        ["endpoint", "message", "status", "happened", ">tries", "problem"],
        [
            [
                callback.endpoint,
                callback.message_id,
                display.styled(callback.status),
                display.ago(callback.at, now),
                str(callback.tries),
                callback.problem or "",
            ]
            for callback in found
        ],
        whole=["message"] if display.console().width >= WIDE else [],
    )
