"""Reconnects a channel's session: has WaSender connect it, hands on the QR code, and watches until it is connected.

Drawing the code is not its business. A code is a secret while it lives: it is never logged.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime

from pydantic import SecretStr

from worker import linked_session
from worker.channels import checks
from worker.database import transaction
from worker.domain.account import Problem, ProblemCode
from worker.domain.account_trouble import trouble
from worker.domain.channel_state import KEY_ROTATION, ChannelState
from worker.domain.errors import GatewayTrouble
from worker.domain.evidence import Connection
from worker.domain.linking import (
    CODE_LIFETIME,
    CODE_PAUSE_S,
    CONNECTED,
    CONNECTING,
    NEED_PASSKEY,
    NEED_SCAN,
    ConnectReport,
)
from worker.linked_session import SCAN_BY_HAND
from worker.parts import Parts

#: How often WaSender is asked whether the phone has scanned, and how old a code gets before it is replaced.
ASK_EVERY_S = 3.0
CODE_KEPT_S = 35.0
_ADVICE = {
    NEED_SCAN: "Scan the QR code with WhatsApp on the phone: Settings, Linked devices, Link a device.",
    NEED_PASSKEY: "WaSender waits for a passkey request to be approved on the phone; open the session in WaSender.",
    CONNECTING: "WaSender is connecting by itself; nothing has to be scanned for now.",
}
_OTHERWISE = "WaSender is not ready to show a code; look at the session in WaSender."


@dataclass(frozen=True, kw_only=True)
class Stage:
    """How far it is: WaSender's word, and what a person should do."""

    state: str
    advice: str
    qr_code: SecretStr | None = None
    expires_at: datetime | None = None


class Reconnection:
    """One channel on its way back. Raises what `linked_session.find` raises."""

    def __init__(self, parts: Parts, name: str) -> None:
        self._parts = parts
        self._name = name
        self._linked = linked_session.find(parts, name, by_hand=SCAN_BY_HAND)

    def begin(self) -> Stage:
        """Have WaSender connect the session. Raises GatewayTrouble where it does not."""
        report = self._linked.account.connect(self._linked.session.id)
        if isinstance(report, Problem):
            raise self._trouble(report)
        return self._begun(report)

    def _begun(self, report: ConnectReport) -> Stage:
        if report.qr_code is not None:
            return self._to_scan(report.qr_code)
        if report.status == CONNECTED and self.word() == CONNECTED:
            return self.connected()
        return _stage(CONNECTING if report.status == CONNECTED else report.status)

    def fresh_code(self) -> Stage | None:
        """Another code; None where there is none just now. Raises GatewayTrouble where asking again is in vain."""
        code = self._linked.account.qr_code(self._linked.session.id)
        if isinstance(code, SecretStr):
            return self._to_scan(code)
        if code.code is ProblemCode.REFUSED:  # it may have to be begun anew
            report = self._linked.account.connect(self._linked.session.id)
            if not isinstance(report, Problem):
                return self._begun(report)
            code = report
        if code.lasting:
            raise self._trouble(code)
        return None

    def _trouble(self, problem: Problem) -> GatewayTrouble:
        return trouble(problem, because=f"Channel {self._name} could not be reconnected.")

    def word(self) -> str | None:
        """What WaSender says of the session now; None where it does not."""
        if self._linked.key is not None:
            report = self._parts.gateway.status(self._linked.key.get_secret_value())
            if report.connection in {Connection.CONNECTED, Connection.NOT_CONNECTED}:
                return CONNECTED if report.connection is Connection.CONNECTED else report.word
            if report.connection is Connection.UNVERIFIED:
                return None
        sessions = self._linked.account.sessions()
        if isinstance(sessions, Problem):
            return None
        return next((one.status for one in sessions if one.id == self._linked.session.id), None)

    def connected(self) -> Stage:
        """It is. The channel is due for its check at once."""
        with transaction(self._parts.engine) as connection:
            checks.ask_now(connection, self._linked.channel.id, now=self._parts.clock())
        return Stage(state=CONNECTED, advice=self._what_is_left())

    def _what_is_left(self) -> str:
        state = self._linked.channel.state
        if state is ChannelState.PAUSED and self._linked.channel.reason == KEY_ROTATION:
            return f"It is connected. Its key is being replaced: truetick channels rotate-key {self._name}"
        if state is ChannelState.PAUSED:
            return f"It is connected. A person paused the channel: truetick channels resume {self._name}"
        if self._linked.key is not None and not self._linked.by_key:
            return f"It is connected, but its key is not the channel's: truetick channels set-key {self._name}"
        if state is ChannelState.MUTE:
            return "It is connected. The channel is up once WhatsApp has ticked a message."
        return "It is connected. Sending goes on once a worker has checked it."

    def _to_scan(self, code: SecretStr) -> Stage:
        expires_at = self._parts.clock() + CODE_LIFETIME
        return Stage(state=NEED_SCAN, advice=_ADVICE[NEED_SCAN], qr_code=code, expires_at=expires_at)


def follow(
    reconnection: Reconnection,
    *,
    within_s: float,
    pause: Callable[[float], None] = time.sleep,
    elapsed: Callable[[], float] = time.monotonic,
) -> Iterator[Stage]:
    """Each news until the session is connected; codes are replaced before they expire.

    Raises GatewayTrouble (`not_connected_in_time` when nobody scanned).
    """
    ends_at = elapsed() + within_s
    stage = reconnection.begin()
    asked_at, is_overdue = elapsed(), False
    yield stage
    while stage.state != CONNECTED:
        if elapsed() >= ends_at:
            raise GatewayTrouble(
                f"The session was not connected within {within_s:.0f} s. {stage.advice}", code="not_connected_in_time"
            )
        pause(ASK_EVERY_S)
        word = reconnection.word()
        news: Stage | None = None
        if word == CONNECTED:
            news = reconnection.connected()
        elif word in {CONNECTING, NEED_PASSKEY}:
            news = _stage(word) if word != stage.state else None
        elif elapsed() - asked_at >= (CODE_KEPT_S if stage.qr_code and not is_overdue else CODE_PAUSE_S):
            news = reconnection.fresh_code()
            asked_at, is_overdue = elapsed(), news is None
        if news is not None:
            stage = news
            yield stage


def _stage(word: str) -> Stage:
    return Stage(state=word, advice=_ADVICE.get(word, _OTHERWISE))
