"""Whoever wants no messages gets none: not what waits, not what is asked for, not what comes back to the queue."""

from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest

from tests.outbox.desk import ALICE, BOB, DEFAULTS, NOON, Desk
from worker.domain.errors import Conflict, InvalidRequest, TruetickError
from worker.domain.message_request import parse_request
from worker.domain.message_status import MessageState
from worker.domain.opt_out import Wish
from worker.domain.outcomes import Cause
from worker.outbox import people, suppressions
from worker.outbox.enqueue import Enqueued, Order, enqueue_all
from worker.outbox.events import Source

S = MessageState


def suppress(desk: Desk, to: str = ALICE, at: datetime | None = None) -> bool:
    held: bool = desk.write(lambda c: suppressions.suppress(c, to, at=at or desk.now, source=Source.WEBHOOK))
    return held


def lift(desk: Desk, to: str = ALICE, at: datetime | None = None) -> int:
    count: int = desk.write(lambda c: suppressions.lift(c, [to], at=at or desk.now))
    return count


def fail_queued(desk: Desk, to: str = ALICE) -> int:
    def work(connection: Any) -> int:
        channels = suppressions.channels_waiting(connection, to)
        return suppressions.fail_queued(connection, to, channels, now=desk.now, source=Source.WEBHOOK)

    count: int = desk.write(work)
    return count


def order(channel_id: int, to: str, **request: Any) -> Order:
    wanted = parse_request({"to": to, "text": "Hello"} | request)
    return Order(request=wanted, channel_id=channel_id, message_id=uuid4())


def store(desk: Desk, orders: list[Order], *, keep_refused: bool = False) -> list[Enqueued | TruetickError]:
    became: list[Enqueued | TruetickError] = desk.write(
        lambda c: enqueue_all(
            c, orders, defaults=DEFAULTS, now=desk.now, source=Source.API, keep_refused=keep_refused
        )
    )
    return became


def test_what_waits_fails_on_every_channel_and_with_a_reason(desk: Desk) -> None:
    one, other = desk.channel("one"), desk.channel("other")
    waiting = [desk.enqueue(one), desk.enqueue(other), desk.enqueue(one, send_after="2030-01-01T00:00:00Z")]
    to_others = desk.enqueue(one, BOB)
    suppress(desk)

    assert fail_queued(desk) == 3
    assert fail_queued(desk) == 0
    for seq in waiting:
        row = desk.message(seq)
        assert (row.state, row.error_code) == (S.FAILED, "opted_out")
        assert "truetick opt-outs remove" in row.error_message
        assert desk.events(seq)[-1] == ("queued", "failed", "webhook")
    assert desk.state(to_others) is S.QUEUED


def test_many_fail_in_batches(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(suppressions, "BATCH", 4)
    channel_id = desk.channel()
    for _ in range(10):
        desk.enqueue(channel_id)
    suppress(desk)
    assert [fail_queued(desk) for _ in range(4)] == [4, 4, 2, 0]


def test_new_ones_are_refused_or_kept_as_failed_and_those_of_others_go_on(desk: Desk) -> None:
    channel_id = desk.channel()
    suppress(desk)
    refused, taken = store(desk, [order(channel_id, ALICE), order(channel_id, BOB)])
    assert isinstance(refused, InvalidRequest)
    assert refused.code == "opted_out"
    assert isinstance(taken, Enqueued)
    assert ALICE not in refused.message

    kept, queued = store(desk, [order(channel_id, ALICE), order(channel_id, BOB)], keep_refused=True)
    assert isinstance(kept, Enqueued)
    assert isinstance(queued, Enqueued)
    assert (kept.state, queued.state) == (S.FAILED, S.QUEUED)
    lift(desk)
    [again] = store(desk, [order(channel_id, ALICE)])
    assert isinstance(again, Enqueued)


def test_a_repeated_request_still_finds_the_message_that_it_was(desk: Desk) -> None:
    channel_id = desk.channel()
    [first] = store(desk, [order(channel_id, ALICE, idempotency_key="order-1")])
    suppress(desk)
    fail_queued(desk)
    [again] = store(desk, [order(channel_id, ALICE, idempotency_key="order-1")])
    assert isinstance(first, Enqueued)
    assert isinstance(again, Enqueued)
    assert (again.message_id, again.created, again.state) == (first.message_id, False, S.FAILED)


@pytest.mark.parametrize("cause", [Cause.UNREACHABLE, Cause.CHANNEL_DOWN])
def test_what_was_claimed_in_that_moment_goes_out_but_fails_if_it_comes_back(desk: Desk, cause: Cause) -> None:
    channel_id = desk.channel()
    seq = desk.enqueue(channel_id)
    claim = desk.leased_claim(channel_id)
    suppress(desk)
    assert fail_queued(desk) == 0
    assert desk.state(seq) is S.SENDING

    desk.finish(claim, cause)
    assert desk.message(seq).error_code == "opted_out"
    assert desk.events(seq)[-2:] == [("sending", "queued", "worker"), ("queued", "failed", "worker")]
    assert desk.claim([channel_id]).claims == ()


def test_what_was_being_stored_in_that_moment_fails_when_its_turn_comes_and_holds_nobody_up(desk: Desk) -> None:
    """Its transaction had looked before the wish was there, and was committed after all that waited had failed."""
    channel_id, other = desk.channel(), desk.channel("other")
    unseen, later = desk.enqueue(channel_id), desk.enqueue(channel_id, send_after="2030-01-01T00:00:00Z")
    behind, elsewhere = desk.enqueue(channel_id, BOB), desk.enqueue(other, BOB)
    suppress(desk)

    desk.lease()
    claims = desk.claim([channel_id, other]).claims

    assert {claim.seq for claim in claims} == {behind, elsewhere}
    assert desk.message(unseen).error_code == "opted_out"
    assert desk.events(unseen)[-1] == ("queued", "failed", "worker")
    assert desk.state(later) is S.QUEUED, "its turn has not come"


def test_claims_that_a_run_never_learnt_of_fail_when_they_are_put_back(desk: Desk) -> None:
    channel_id = desk.channel()
    seq = desk.enqueue(channel_id)
    desk.leased_claim(channel_id)
    suppress(desk)
    assert desk.put_back() == 1
    assert desk.message(seq).error_code == "opted_out"


def test_a_doubt_that_is_solved_by_sending_again_is_not_sent_again(desk: Desk) -> None:
    channel_id = desk.channel()
    seq = desk.enqueue(channel_id)
    desk.finish(desk.leased_claim(channel_id), Cause.TIMEOUT)
    suppress(desk)
    assert desk.requeue(seq)
    assert desk.message(seq).error_code == "opted_out"


def test_a_person_does_not_send_it_again_either(desk: Desk) -> None:
    channel_id = desk.channel()
    seq = desk.enqueue(channel_id)
    suppress(desk)
    fail_queued(desk)
    with pytest.raises(Conflict) as refused:
        desk.write(lambda c: people.resend(c, desk.message(seq).id, now=desk.now))
    assert refused.value.code == "opted_out"
    assert desk.state(seq) is S.FAILED

    lift(desk)
    desk.write(lambda c: people.resend(c, desk.message(seq).id, now=desk.now))
    desk.lease()
    assert desk.claim_one(channel_id).seq == seq


def test_the_answer_to_a_wish_goes_out_nevertheless(desk: Desk) -> None:
    channel_id = desk.channel()
    suppress(desk)
    wanted = parse_request({"to": ALICE, "text": "You will get no more messages."})
    answer_id = suppressions.answer_id(Wish.STOP, ALICE, desk.now)
    [made] = store(
        desk, [Order(request=wanted, channel_id=channel_id, message_id=answer_id, is_answer=True)], keep_refused=True
    )
    assert isinstance(made, Enqueued)
    assert fail_queued(desk) == 0
    claim = desk.leased_claim(channel_id)
    desk.finish(claim, Cause.UNREACHABLE)
    assert desk.claim_one(channel_id).seq == claim.seq


def test_a_wish_that_comes_late_does_not_undo_a_later_one(desk: Desk) -> None:
    stop, start = NOON, NOON + timedelta(minutes=5)
    assert suppress(desk, at=stop)
    assert lift(desk, at=start) == 1
    assert not suppress(desk, at=stop), "the same STOP, told of once more"
    assert not desk.write(lambda c: suppressions.suppressed(c, [ALICE]))

    again = NOON + timedelta(minutes=10)
    assert suppress(desk, at=again)
    assert lift(desk, at=start) == 0, "the same START, told of once more"
    assert desk.write(lambda c: suppressions.since(c, ALICE)) == again


def test_a_repeated_wish_changes_nothing(desk: Desk) -> None:
    suppress(desk, at=NOON)
    assert suppress(desk, at=NOON + timedelta(hours=1))
    assert desk.write(lambda c: suppressions.since(c, ALICE)) == NOON
    assert lift(desk, BOB) == 0


def test_the_list_keeps_who_has_come_back_as_a_proof(desk: Desk) -> None:
    suppress(desk, ALICE, at=NOON)
    suppress(desk, BOB, at=NOON + timedelta(minutes=1))
    lift(desk, ALICE, at=NOON + timedelta(minutes=2))

    def listed(**which: Any) -> list[str]:
        found = desk.write(lambda c: suppressions.list_all(c, **({"lifted": False, "limit": 10} | which)))
        return [one.recipient for one in found]

    assert listed() == [BOB]
    assert listed(lifted=True) == [BOB, ALICE]
    assert listed(lifted=True, limit=1) == [BOB]
