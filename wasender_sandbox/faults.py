"""What can go wrong on the wire, and the armed faults: which request each one strikes, and how often.

A fault strikes `before` the request is processed (nothing is accepted) or `after` (accepted, and the answer suffers).
"""

import random
from dataclasses import dataclass
from typing import Any

from wasender_sandbox.errors import ControlError
from wasender_sandbox.recipients import digits_of
from wasender_sandbox.spans import Span

BEFORE, AFTER = "before", "after"


@dataclass(frozen=True, slots=True)
class Kind:
    """`usual`: when it strikes unless told otherwise; `only`: the one moment that makes sense, if there is one."""

    meaning: str
    usual: str
    status: int = 0
    only: str | None = None


KINDS: dict[str, Kind] = {
    "delay": Kind("Wait `seconds`, then go on; the work is done even if the client has left", BEFORE),
    "hang": Kind("Never answer; the connection stays open for `seconds` (120) or until the client leaves", BEFORE),
    "reset": Kind("Reset the TCP connection", BEFORE),
    "close": Kind("Close the connection without an answer", BEFORE),
    "error": Kind("A JSON failure with `status`", BEFORE, 500),
    "html": Kind("An HTML page of the proxy with `status`", BEFORE, 520),
    "answer": Kind("Answer `status` with `body`, as given", BEFORE, 200),
    "empty": Kind("An empty body with `status`", AFTER, 200),
    "truncated": Kind("The connection breaks in the middle of the body", AFTER, 200),
    "bad_json": Kind("A complete response whose JSON is cut off", AFTER, 200),
    "wrong_types": Kind("JSON whose values have the wrong types", AFTER, 200),
    "no_msg_id": Kind("success:true without data.msgId", AFTER, 200),
    "not_connected": Kind("A spurious not-connected refusal", BEFORE, 0, BEFORE),
    "throttled": Kind("A 429 with `retry_after` (5), though the limit is kept", BEFORE, 429, BEFORE),
}


@dataclass(slots=True, kw_only=True)
class Fault:
    """One armed fault. `left` counts down to 0; None means until it is cleared."""

    id: int
    kind: str
    when: str
    endpoint: str
    channel: str | None
    recipient: str | None
    text: str | None
    left: int | None
    probability: float
    status: int
    seconds: Span
    body: str
    retry_after: int
    hits: int = 0

    def to_json(self) -> dict[str, Any]:
        shown = {name: getattr(self, name) for name in self.__slots__}
        return shown | {"seconds": str(self.seconds)}


class Faults:
    """The armed faults. Delays add up; of the others the first that strikes decides."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._next_id = 1
        self.armed: list[Fault] = []

    def add(
        self,
        kind: str,
        *,
        when: str | None = None,
        endpoint: str = "send-message",
        channel: str | None = None,
        recipient: str | None = None,
        text: str | None = None,
        count: int | None = None,
        probability: float = 1.0,
        status: int | None = None,
        seconds: object = None,
        body: str = "",
        retry_after: int = 5,
    ) -> Fault:
        """Arm a fault. `recipient` is a number in any spelling, `text` a part of the posted text."""
        spec = KINDS.get(kind)
        if spec is None:
            raise ControlError(f"There is no fault named {kind!r}. Known faults: {', '.join(KINDS)}.")
        when = when or spec.usual
        if when not in {BEFORE, AFTER} or (spec.only and when != spec.only):
            allowed = spec.only or "before or after"
            raise ControlError(f"Fault {kind} strikes {allowed}, not {when!r}.")
        if count is not None and count < 1:
            raise ControlError(f"count is a number of requests from 1 on, not {count}.")
        if not 0 < probability <= 1:
            raise ControlError(f"probability lies above 0 and up to 1, not {probability:g}.")
        if status is not None and not 200 <= status <= 599:
            raise ControlError(f"status is an HTTP status from 200 to 599, not {status}.")
        fault = Fault(
            id=self._next_id,
            kind=kind,
            when=when,
            endpoint=endpoint,
            channel=channel,
            recipient=digits_of(recipient) if recipient else None,
            text=text,
            left=count,
            probability=probability,
            status=status or spec.status,
            seconds=Span.parse(seconds if seconds is not None else (120 if kind == "hang" else 1)),
            body=body,
            retry_after=retry_after,
        )
        self._next_id += 1
        self.armed.append(fault)
        return fault

    def clear(self, fault_id: int | None = None) -> int:
        """Disarm one fault, or all; returns how many."""
        kept = [fault for fault in self.armed if fault_id is not None and fault.id != fault_id]
        gone = len(self.armed) - len(kept)
        self.armed = kept
        return gone

    def strike(
        self, when: str, endpoint: str, channel: str | None, to: str = "", text: str = ""
    ) -> tuple[float, Fault | None]:
        """Seconds to wait, and the fault that decides this request, if any. Uses up counts."""
        if not self.armed:
            return 0.0, None
        wait, struck = 0.0, None
        for fault in self.armed:
            if struck and fault.kind != "delay":
                continue
            if not _matches(fault, when, endpoint, channel, to, text):
                continue
            if fault.probability < 1 and self._rng.random() >= fault.probability:
                continue
            fault.hits += 1
            if fault.left is not None:
                fault.left -= 1
            if fault.kind == "delay":
                wait += fault.seconds.draw(self._rng)
            else:
                struck = fault
        self.armed = [fault for fault in self.armed if fault.left != 0]
        return wait, struck


def _matches(fault: Fault, when: str, endpoint: str, channel: str | None, to: str, text: str) -> bool:
    return (
        fault.when == when
        and fault.endpoint in {endpoint, "*"}
        and (fault.channel is None or fault.channel == channel)
        and (fault.recipient is None or fault.recipient == digits_of(to))
        and (fault.text is None or fault.text in text)
    )
