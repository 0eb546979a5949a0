"""One message that always breaks something delays nobody else for long, and is given up after a few attempts."""

from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import timedelta
from typing import Any

import pytest

from tests.drain.scene import number
from tests.truth.conftest import TOKEN
from tests.truth.stage import Stage
from worker.domain.channel_state import ChannelState
from worker.domain.refusals import MOST_REFUSALS
from worker.drain import DrainRun
from worker.outbox.claims import Claim

OTHERS = 30
PLAN_ENDED = '{"success":false,"message":"Your subscription has expired. Please upgrade your plan."}'
#: What the others take without the poisoned one, in seconds of a schedule that ticks every five.
USUAL_S = 25


@pytest.fixture(params=["no token", "token"])
def options(request: pytest.FixtureRequest) -> dict[str, object]:
    return {"WASENDER_PERSONAL_ACCESS_TOKEN": TOKEN} if request.param == "token" else {}


@pytest.fixture
def token(options: dict[str, object]) -> bool:
    return bool(options)


class Killed(BaseException):
    """kill -9: nothing more is written, and nobody gives the channel back."""


@pytest.fixture
def deadly(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Whoever is about to POST the poisoned message dies. Gives the attempts at which that happened."""
    deaths: list[int] = []
    post, finish, send = DrainRun._post, DrainRun.finish, stage.send
    killed: list[DrainRun] = []

    def _post(run: DrainRun, claims: Sequence[Claim]) -> None:
        if poisoned := [claim for claim in claims if claim.content["text"] == "poison"]:
            deaths.append(poisoned[0].attempt)
            killed.append(run)
            raise Killed
        post(run, claims)

    def _finish(run: DrainRun) -> bool:
        if run in killed:
            run._senders.close()
            return False
        return finish(run)

    def _send() -> None:
        with suppress(Killed):
            send()

    monkeypatch.setattr(DrainRun, "_post", _post)
    monkeypatch.setattr(DrainRun, "finish", _finish)
    monkeypatch.setattr(stage, "send", _send)
    return deaths


def others_are_delivered(stage: Stage) -> bool:
    return Counter(stage.crm.states())["delivered"] >= OTHERS


def enqueue_all(stage: Stage, on_doubt: str) -> None:
    stage.crm.enqueue(["an earlier one"], to=lambda _: number(90))
    stage.live(10)
    stage.crm.enqueue(["poison"], to=lambda _: number(91), on_doubt=on_doubt)
    stage.crm.enqueue([f"{index}" for index in range(OTHERS - 1)])


def poisoned(stage: Stage) -> Any:
    return stage.crm.messages()[1]


def assert_given_up(stage: Stage, attempts: int, *, on_doubt: str, token: bool) -> None:
    """With a token the log proves each time that WaSender has not got it; otherwise its policy decides."""
    message = poisoned(stage)
    if token:
        assert attempts == 3
        assert (message.state, message.error_code) == ("failed", "too_many_doubts")
    else:
        assert attempts == {"hold": 1, "resend": 2}[on_doubt]
        assert (message.state, message.attention) == ("in_doubt", "in_doubt")


@pytest.mark.parametrize("on_doubt", ["hold", "resend"])
@pytest.mark.parametrize(("kind", "status"), [("error", 500), ("html", 403)], ids=["error", "firewall"])
def test_a_message_that_is_always_answered_with_an_error(
    stage: Stage, kind: str, status: int, on_doubt: str, token: bool
) -> None:
    stage.sandbox.fault(kind, status=status, text="poison")
    enqueue_all(stage, on_doubt)

    took_s = stage.live(600, until=lambda: others_are_delivered(stage))

    assert took_s <= USUAL_S + 20, "the others had to wait for it"
    stage.live(900, step_s=20, until=lambda: poisoned(stage).attention or poisoned(stage).state == "failed")
    stage.live(300, step_s=100)
    posted = stage.sandbox.requests(to=number(91))
    assert_given_up(stage, len(posted), on_doubt=on_doubt, token=token)
    assert stage.sandbox.verdict()["duplicates"] == 0
    assert {row.after for row in stage.crm.events(None)} <= {"unknown", "up"}, "one message stopped its channel"


@pytest.mark.parametrize("on_doubt", ["hold", "resend"])
def test_a_message_that_kills_every_worker(stage: Stage, deadly: list[int], on_doubt: str, token: bool) -> None:
    enqueue_all(stage, on_doubt)

    took_s = stage.live(600, until=lambda: others_are_delivered(stage))

    lease_s = stage.parts.settings.lease_s
    assert took_s <= USUAL_S + lease_s + 10, "the others had to wait for more than the lease of the dead"
    stage.live(900, step_s=20, until=lambda: poisoned(stage).attention or poisoned(stage).state == "failed")
    stage.live(300, step_s=100)
    assert_given_up(stage, len(deadly), on_doubt=on_doubt, token=token)
    assert len(stage.sandbox.ledger()) == OTHERS
    assert stage.sandbox.verdict()["duplicates"] == 0


# Refused, though nothing is wrong with the channel


NOT_CONNECTED = (
    '{"success":false,"message":"Your Whatsapp Session is not connected please connect your session first."}'
)
REFUSALS = {
    "not connected": (200, NOT_CONNECTED),
    "words of a scan": (422, '{"success":false,"message":"The text must not ask people to scan codes."}'),
    "words of a plan": (422, '{"success":false,"message":"Validation failed","errors":{"text":["upgrade"]}}'),
}


def tick_now_and_then(stage: Stage, until: Callable[[], Any]) -> None:
    """Other messages go out all the time, and are ticked."""
    for index in range(40):
        if until():
            return
        stage.crm.enqueue([f"meanwhile {index}"], to=lambda _: number(500 + index))  # noqa: B023
        stage.live(70, step_s=5 if index < 3 else 35)
    raise AssertionError("it was never given up")


@pytest.mark.parametrize("options", ["no token"], indirect=True)
@pytest.mark.parametrize("refusal", REFUSALS)
def test_a_message_that_is_refused_as_if_its_channel_were_at_fault(stage: Stage, refusal: str) -> None:
    status, body = REFUSALS[refusal]
    stage.sandbox.fault("answer", status=status, body=body, text="poison")
    enqueue_all(stage, "hold")
    stage.crm.enqueue(["to the same person"], to=lambda _: number(91))

    took_s = stage.live(600, until=lambda: others_are_delivered(stage))

    assert took_s <= USUAL_S + 30, "the others had to wait for it"
    assert stage.crm.states()[-1] == "queued", "its recipient's next message passed it"
    tick_now_and_then(stage, until=lambda: poisoned(stage).state == "failed")
    message = poisoned(stage)
    assert (message.error_code, message.attempts) == ("refused_repeatedly", 0)
    tried = len(stage.sandbox.requests(to=number(91)))
    assert tried <= 5 * MOST_REFUSALS, "it was tried without end"
    stage.live(60, until=lambda: stage.crm.states()[OTHERS + 1] == "delivered")
    assert stage.crm.texts(recipient=number(91)) == ["to the same person"]
    assert stage.sandbox.verdict()["duplicates"] == 0
    assert {row.after for row in stage.crm.events(None)} <= {"unknown", "up"}, "one message stopped its channel"


@pytest.mark.parametrize("options", ["no token"], indirect=True)
def test_earlier_trouble_is_not_held_against_a_channel_that_refuses_one_message_by_words(stage: Stage) -> None:
    status, body = REFUSALS["words of a plan"]
    stage.sandbox.fault("answer", status=status, body=body, text="poison")
    stage.sandbox.fault("error", status=500, text="trouble", count=1)
    stage.crm.enqueue(["an earlier one"], to=lambda _: number(90))
    stage.live(10)
    stage.crm.enqueue(["trouble"], to=lambda _: number(92))
    stage.crm.enqueue(["poison"], to=lambda _: number(91))
    stage.crm.enqueue(["good"], to=lambda _: number(93))

    stage.live(30)

    assert stage.sandbox.requests(to=number(91))
    assert stage.crm.states()[-1] == "delivered"
    assert not stage.outages()


@pytest.mark.parametrize("options", ["no token"], indirect=True)
def test_words_about_the_plan_block_a_channel_that_has_nothing_else_to_send_and_others_go_first_afterwards(
    stage: Stage,
) -> None:
    status, body = REFUSALS["words of a plan"]
    stage.sandbox.fault("answer", status=status, body=body, text="poison")
    stage.crm.enqueue(["poison"], to=lambda _: number(91))
    stage.live(30)
    assert len(stage.sandbox.requests()) > 1
    assert stage.crm.channel().state is ChannelState.UP, "one message stopped its channel at once"

    stage.live(120, until=lambda: stage.crm.channel().state is ChannelState.BLOCKED)

    assert stage.crm.channel().reason == "no_subscription"
    (outage,) = stage.outages()
    stage.live(300, step_s=60, until=lambda: stage.outages()[0].alarmed_at)
    stage.crm.enqueue(["good"], to=lambda _: number(93))
    stage.live(900, step_s=20, until=lambda: stage.crm.states() == ["queued", "delivered"])
    assert outage.reason == "no_subscription"


@pytest.mark.parametrize("options", ["no token"], indirect=True)
def test_a_plan_that_has_ended_stops_the_channel_even_if_only_a_message_waits_that_was_refused_alone(
    stage: Stage,
) -> None:
    stage.sandbox.fault("answer", status=402, body=PLAN_ENDED)
    stage.crm.enqueue(["poison"])
    long_ago = stage.parts.clock() - timedelta(seconds=60)
    stage.crm.set_message(1, refusals=2, refused_at=long_ago, retry_at=long_ago)

    stage.live(30, until=lambda: stage.crm.channel().state is ChannelState.BLOCKED)

    assert stage.crm.channel().reason == "no_subscription"
    assert len(stage.sandbox.requests()) == 1
