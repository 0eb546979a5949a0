"""What the four questions of `/api/whatsapp` answer, asked by the HTTP API or by a blueprint in somebody's CRM.

`/metrics` tells the same standings as figures. It reads the request, asks `worker.diagnosis`, and bounds what that
may take.
"""

import threading
import time
from datetime import timedelta
from typing import Annotated, Any

import structlog
from flask import request
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from sqlalchemy import Connection

from crm_bridge.web import json_body
from crm_bridge.web.bounded import Bounded
from crm_bridge.web.problems import Problem
from crm_bridge.web.query import Query, read_query
from worker import metrics
from worker.callbacks import overview as callbacks_overview
from worker.channels import overview
from worker.channels.overview import ChannelStanding
from worker.database import snapshot
from worker.diagnosis import trial, troubleshooting
from worker.diagnosis.broker_line import BrokerLine
from worker.diagnosis.diagnoser import Diagnoser, TookTooLong
from worker.diagnosis.finding import Diagnosis
from worker.domain.channel_state import NAME
from worker.domain.errors import NotFound
from worker.outbox.events import Source
from worker.outbox.rates import Rates, rates
from worker.parts import Parts

log = structlog.get_logger(__name__)

#: Test messages hold a thread each while they are followed.
MOST_TESTS = 3
LARGEST_TEST_BYTES = 32 * 1024
#: Delivery rates may be this old.
RATES_KEPT_S = 5.0

ChannelName = Annotated[str, Field(pattern=NAME, description="Only this channel.")]


class DiagnosticsQuery(Query):
    channel: ChannelName | None = None
    proof_hours: Annotated[
        float, Field(gt=0, le=168, description="How old a tick may be that proves that messages go out.")
    ] = 24.0


class TroubleshootQuery(DiagnosticsQuery):
    guide: Annotated[bool, Field(description="Give the whole guide as well, not only what applies now.")] = False


class TestMessage(BaseModel):
    """A test message. With the same `idempotency_key` it is sent once and followed again; a tick that is older than
    a quarter of an hour proves nothing then. Without `channel` it takes the default one, or the only one with a key.
    """

    __test__ = False  # for pytest: it is no test
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    phone_number: Annotated[str, Field(min_length=1, max_length=200)]
    channel: Annotated[str, Field(pattern=NAME)] | None = None
    text: Annotated[str, Field(min_length=1, max_length=1000)] = trial.TEXT
    timeout_s: Annotated[float, Field(ge=1, le=trial.LONGEST_FOLLOWED_S)] = trial.USUALLY_FOLLOWED_S
    idempotency_key: Annotated[str, Field(min_length=1, max_length=200)] | None = None


class DiagnosisDesk:
    """One for each application. Opens nothing before the first question."""

    def __init__(self, parts: Parts, database: Bounded) -> None:
        self._parts = parts
        self._database = database
        self._line = BrokerLine(parts.settings)
        self._diagnoser = Diagnoser(parts, self._line)
        self._tests = threading.BoundedSemaphore(MOST_TESTS)
        #: When they were read, and the delivery rates by channel id.
        self._rates: tuple[float, dict[int, tuple[Rates, Rates]]] = (0.0, {})

    def status(self) -> dict[str, Any]:
        return self._database.run(self._read_status)

    def metrics(self) -> bytes:
        """In Prometheus' text format."""
        return self._database.run(self._read_metrics)

    def diagnostics(self) -> dict[str, Any]:
        """Raises NotFound for a channel that does not exist."""
        return self._diagnosis(read_query(DiagnosticsQuery)).as_json()

    def troubleshoot(self) -> dict[str, Any]:
        """Raises NotFound for a channel that does not exist."""
        asked = read_query(TroubleshootQuery)
        diagnosis = self._diagnosis(asked)
        advice = troubleshooting.troubleshoot(diagnosis)
        return troubleshooting.as_json(diagnosis, advice, whole_guide=asked.guide)

    def _diagnosis(self, asked: DiagnosticsQuery) -> Diagnosis:
        try:
            return self._diagnoser.diagnose(channel=asked.channel, within=timedelta(hours=asked.proof_hours))
        except TookTooLong as error:
            raise Problem(503, error.code, error.message, Retry_After="10") from None

    def test_message(self) -> dict[str, Any]:
        asked = _read_test()
        if not self._tests.acquire(blocking=False):
            raise Problem(
                429,
                "too_many_test_messages",
                f"{MOST_TESTS} test messages are being followed already. Try again when one of them has ended.",
                Retry_After="10",
            )
        try:
            return self._test(asked)
        finally:
            self._tests.release()

    def _test(self, asked: TestMessage) -> dict[str, Any]:
        try:
            message_id = self._database.run(
                lambda: trial.begin(
                    self._parts,
                    asked.phone_number,
                    channel=asked.channel,
                    text=asked.text,
                    idempotency_key=asked.idempotency_key,
                    source=Source.API,
                )
            )
        except NotFound as error:  # the channel that the body names, not the address that was asked for
            raise Problem(422, error.code, error.message) from None
        threading.Thread(target=self._wake, daemon=True, name="wake").start()
        report = trial.follow(self._parts, message_id, timeout_s=asked.timeout_s, run=self._database.run)
        return report.as_json()

    def _wake(self) -> None:
        """Nobody waits for the broker; without a wake-up the sweep finds the message."""
        try:
            self._line.wake_drain()
        except Exception as error:
            problem = type(error).__name__
            log.warning("wake_up_not_published", problem=problem, advice="the next sweep finds the message")

    def _read_status(self) -> dict[str, Any]:
        with snapshot(self._parts.engine) as connection:
            standings, kept = self._standings(connection)
        told = overview.as_json(standings)
        for channel, standing in zip(told["channels"], standings, strict=True):
            hour, day = kept[standing.id]
            channel["rates"] = {"hour": hour.as_json(), "day": day.as_json()}
        return told

    def _read_metrics(self) -> bytes:
        with snapshot(self._parts.engine) as connection:
            standings, kept = self._standings(connection)
            endpoints = callbacks_overview.standings(connection)
        return metrics.written(standings, kept, endpoints)

    def _standings(self, connection: Connection) -> tuple[list[ChannelStanding], dict[int, tuple[Rates, Rates]]]:
        now = self._parts.clock()
        interval_s = self._parts.settings.check_interval_s
        standings = overview.standings(connection, now=now, check_interval_s=interval_s)
        read_at, kept = self._rates
        ids = [standing.id for standing in standings]
        if time.monotonic() - read_at > RATES_KEPT_S or not kept.keys() >= set(ids):
            kept = rates(connection, ids, now=now)
            self._rates = (time.monotonic(), kept)
        return standings, kept


def _read_test() -> TestMessage:
    """Raises Problem naming each wrong field."""
    request.max_content_length = LARGEST_TEST_BYTES
    given = json_body.read_object()
    try:
        return TestMessage.model_validate(given)
    except ValidationError as error:
        problems = error.errors(include_input=False, include_url=False, include_context=False)
        said = "; ".join(f"{_field(one['loc'])}: {one['msg']}" for one in problems[:5])
        raise Problem(422, "invalid_request", f"The request cannot be used: {said}.") from None


def _field(place: tuple[Any, ...]) -> str:
    """A field's name; callers can write anything into one that does not exist."""
    return str(place[0]) if place and place[0] in TestMessage.model_fields else "?"
