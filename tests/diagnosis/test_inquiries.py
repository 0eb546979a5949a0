"""Servers that hang cost the diagnosis its time limit, and one thread each, however often it is asked for."""

import threading
import time
from collections.abc import Callable, Iterator

import pytest

from tests.diagnosis.conftest import OPTIONS, Line, Ward
from wasender_sandbox.control import Sandbox
from worker.diagnosis import examination
from worker.diagnosis.inquiries import Inquiries, NoAnswer
from worker.parts import Parts


@pytest.fixture
def released() -> Iterator[threading.Event]:
    """Set at the end, so that no thread outlives its test."""
    event = threading.Event()
    yield event
    event.set()


def test_a_question_that_hangs_is_shared_by_whoever_asks_it_again(released: threading.Event) -> None:
    inquiries, asked = Inquiries(), []

    def hang() -> str:
        asked.append(None)
        released.wait(10)
        return "at last"

    for _ in range(3):
        with pytest.raises(NoAnswer):
            inquiries.ask("it", hang).answer(time.monotonic() + 0.05)
    assert len(asked) == 1
    waiting = inquiries.ask("it", hang)
    released.set()
    assert waiting.answer(time.monotonic() + 5) == "at last"
    assert inquiries.ask("it", lambda: "anew").answer(time.monotonic() + 5) == "anew"


def test_what_a_question_raises_is_raised_to_whoever_asked() -> None:
    def fail() -> None:
        raise TimeoutError("its own")

    with pytest.raises(TimeoutError, match="its own"):
        Inquiries().ask("it", fail).answer(time.monotonic() + 5)


def test_when_everything_hangs_the_diagnosis_still_answers_in_time(
    sqlite_url: str,
    build: Callable[..., Parts],
    sandbox: Sandbox,
    monkeypatch: pytest.MonkeyPatch,
    released: threading.Event,
) -> None:
    monkeypatch.setattr(examination, "WITHIN_S", 0.8)
    monkeypatch.setattr(examination, "DATABASE_S", 0.3)
    monkeypatch.setattr(examination, "look", lambda _: released.wait(10))
    sandbox.fault("hang", endpoint="*")
    parts = build(sqlite_url, **OPTIONS | {"TRUETICK_READ_TIMEOUT_S": 20}, WASENDER_PERSONAL_ACCESS_TOKEN="1|token")

    class Frozen(Line):
        @staticmethod
        def _or_raise(_said: object) -> object:
            return released.wait(10)

    begun = time.monotonic()
    findings = Ward(parts, Frozen()).findings()

    assert time.monotonic() - begun < 2
    assert findings["database"].code == "database_away"
    assert findings["api_reachable"].code == "timeout"
    assert findings["queue"].code == "broker_away"
    assert findings["sending_proven"].verdict == "unverified"
    assert not any(finding.verdict == "ok" for finding in findings.values())
