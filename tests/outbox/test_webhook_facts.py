"""Facts of webhooks: stored once, taken by one at a time, parked for ever longer, woken when their id is learnt."""

import threading
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

from sqlalchemy import Connection, Row, event, insert, select, text, update

from tests.outbox.desk import ALICE, Desk
from tests.real_servers import wait_until
from worker.channels.webhooks import note_webhook
from worker.database import transaction
from worker.domain.evidence import Ack
from worker.domain.webhook_fact import Fact, SendFailed, SentSeen, SessionChanged, TickSeen
from worker.models import Channel, WebhookFact
from worker.outbox import webhook_facts
from worker.outbox.webhook_facts import TakenFact

SENT = SentSeen(whatsapp_key_id="3EB0", recipient=ALICE, text_digest="ab" * 32, gateway_msg_id=2**40)


def tick(key_id: str = "3EB0", ack: Ack = Ack.SERVER) -> TickSeen:
    return TickSeen(whatsapp_key_id=key_id, whatsapp_jid="917033009600@s.whatsapp.net", ack=ack)


def store(desk: Desk, channel_id: int, *facts: Fact) -> int:
    count: int = desk.write(lambda c: webhook_facts.store(c, channel_id, facts, desk.now))
    return count


def take(desk: Desk, most: int = 100) -> Sequence[TakenFact]:
    taken: Sequence[TakenFact] = desk.write(lambda c: webhook_facts.take_due(c, desk.now, most))
    return taken


def park(desk: Desk, *ids: int) -> None:
    desk.write(lambda c: webhook_facts.park(c, ids, desk.now))


def wake(desk: Desk, channel_id: int, *key_ids: str) -> int:
    count: int = desk.write(lambda c: webhook_facts.wake_parked(c, {channel_id: key_ids}, desk.now))
    return count


def forget(desk: Desk, **options: int) -> int:
    count: int = desk.write(lambda c: webhook_facts.forget_old(c, desk.now, **options))
    return count


def stored(desk: Desk) -> Sequence[Row[Any]]:
    return desk.read(select(WebhookFact.__table__).order_by(WebhookFact.id))


def test_facts_are_given_back_as_they_were_stored_the_longest_due_first(desk: Desk) -> None:
    channel_id = desk.channel()
    first: list[Fact] = [tick(), SENT, SendFailed(recipient=ALICE), SessionChanged(word="need_scan")]
    assert store(desk, channel_id, *first) == 4
    desk.wait(1)
    assert store(desk, channel_id, tick("later")) == 1

    taken = take(desk)

    assert [one.fact for one in taken] == [*first, tick("later")]
    assert {(one.channel_id, one.tries) for one in taken} == {(channel_id, 0)}
    assert taken[0].received_at == desk.now - timedelta(seconds=1)
    assert [row.whatsapp_key_id for row in stored(desk)] == ["3EB0", "3EB0", None, None, "later"]


def test_a_fact_that_one_webhook_says_twice_is_stored_once(desk: Desk) -> None:
    channel_id = desk.channel()

    assert store(desk, channel_id, tick(), tick(), tick(ack=Ack.DEVICE)) == 2
    assert store(desk, channel_id, tick()) == 1, "another webhook may repeat it: using it twice is harmless"
    assert store(desk, channel_id) == 0
    assert len(stored(desk)) == 3


def test_what_one_has_taken_nobody_else_gets_until_the_lease_is_over(desk: Desk) -> None:
    channel_id = desk.channel()
    store(desk, channel_id, tick("a"), tick("b"), tick("c"))

    assert [one.fact for one in take(desk, most=2)] == [tick("a"), tick("b")]
    assert [one.fact for one in take(desk)] == [tick("c")]
    assert take(desk) == ()
    desk.now += webhook_facts.LEASE - timedelta(milliseconds=1)
    assert take(desk) == ()
    desk.wait(0.001)
    assert len(take(desk)) == 3, "whoever had them is lost"


def test_a_parked_fact_comes_back_after_pauses_that_double_up_to_ten_minutes(desk: Desk) -> None:
    channel_id = desk.channel()
    store(desk, channel_id, tick())
    pauses = []
    for tries in range(12):
        [taken] = take(desk)
        assert taken.tries == tries
        park(desk, taken.id)
        due_at = stored(desk)[0].next_try_at
        pauses.append((due_at - desk.now).total_seconds())
        desk.now = due_at - timedelta(milliseconds=1)
        assert take(desk) == ()
        desk.now = due_at

    assert pauses == [2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096]


def test_facts_that_were_used_are_gone_and_the_others_stay(desk: Desk) -> None:
    channel_id = desk.channel()
    store(desk, channel_id, tick("a"), tick("b"))
    first, second = take(desk)

    desk.write(lambda c: webhook_facts.use_up(c, [first.id]))
    desk.write(lambda c: webhook_facts.use_up(c, [first.id]))
    desk.write(lambda c: webhook_facts.use_up(c, []))

    assert [row.id for row in stored(desk)] == [second.id]


def test_what_waited_for_an_id_is_due_at_once_when_the_id_is_learnt(desk: Desk) -> None:
    ours, theirs = desk.channel("ours"), desk.channel("theirs")
    store(desk, ours, tick("known"), tick("known", Ack.DEVICE), tick("unknown"), SessionChanged(word="connected"))
    store(desk, theirs, tick("known"))
    park(desk, *(one.id for one in take(desk)))
    desk.wait(1)

    assert wake(desk, ours) == 0
    assert wake(desk, ours, "known", "other") == 2
    assert wake(desk, ours, "known") == 0, "it is due already"

    taken = take(desk)
    assert [(one.channel_id, one.fact) for one in taken] == [(ours, tick("known")), (ours, tick("known", Ack.DEVICE))]


def test_a_fact_whose_id_is_learnt_while_somebody_looks_at_it_is_not_put_away(desk: Desk) -> None:
    channel_id = desk.channel()
    store(desk, channel_id, tick())
    [looked_at] = take(desk)

    assert wake(desk, channel_id, "3EB0") == 1
    park(desk, looked_at.id)

    assert [one.fact for one in take(desk)] == [tick()]


def test_facts_of_two_days_ago_are_forgotten_the_oldest_first(desk: Desk) -> None:
    channel_id = desk.channel()
    store(desk, channel_id, tick("old"), tick("older"))
    desk.wait(3600)
    store(desk, channel_id, tick("young"))

    desk.now += webhook_facts.KEEP - timedelta(seconds=3601)
    assert forget(desk) == 0
    desk.wait(1)
    assert forget(desk, most=1) == 1
    assert forget(desk) == 1
    assert forget(desk) == 0
    assert [row.whatsapp_key_id for row in stored(desk)] == ["young"]


def test_a_fact_of_a_newer_program_is_left_for_it_and_stops_nobody(desk: Desk) -> None:
    channel_id = desk.channel()
    row = {"channel_id": channel_id, "received_at": desk.now, "next_try_at": desk.now, "kind": "weather", "said": {}}
    desk.write(lambda c: c.execute(insert(WebhookFact).values(**row)))
    store(desk, channel_id, tick())

    assert [one.fact for one in take(desk)] == [tick()]
    assert [row.kind for row in stored(desk)] == ["weather", "tick"]


def test_two_who_take_at_once_share_the_facts(desk: Desk) -> None:
    channel_id = desk.channel()
    store(desk, channel_id, *(tick(str(number)) for number in range(60)))
    got: list[TakenFact] = []

    def work() -> None:
        while taken := take(desk, most=7):
            got.extend(taken)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(one.id for one in got) == [row.id for row in stored(desk)]


def test_what_somebody_is_taking_just_now_is_taken_by_nobody_else(postgres_desk: Desk) -> None:
    channel_id = postgres_desk.channel()
    store(postgres_desk, channel_id, tick("a"), tick("b"))

    with transaction(postgres_desk.engine) as connection:
        [ours] = webhook_facts.take_due(connection, postgres_desk.now, 1)
        assert [one.fact for one in take(postgres_desk)] == [tick("b")]
    assert ours.fact == tick("a")


def test_waking_and_parking_the_same_facts_at_once_never_deadlocks(postgres_desk: Desk) -> None:
    channel_id = postgres_desk.channel()
    store(postgres_desk, channel_id, *(tick(f"k{number}") for number in range(80)))
    ids = [one.id for one in take(postgres_desk)]
    failures: list[BaseException] = []

    def again(work: Any) -> None:
        try:
            for _ in range(40):
                postgres_desk.write(work)
        except BaseException as error:
            failures.append(error)

    keys = [f"k{number}" for number in reversed(range(80))]
    works = [
        lambda c: webhook_facts.park(c, ids, postgres_desk.now),
        lambda c: webhook_facts.park(c, ids[::-1], postgres_desk.now),
        lambda c: webhook_facts.wake_parked(c, {channel_id: keys}, postgres_desk.now + timedelta(seconds=1)),
    ]
    threads = [threading.Thread(target=again, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert failures == []


# The channel's own note


def noted_at(desk: Desk, channel_id: int) -> Any:
    return desk.read(select(Channel.last_webhook_at).where(Channel.id == channel_id))[0].last_webhook_at


def test_a_channel_notes_webhooks_every_five_seconds_and_not_more_often(desk: Desk) -> None:
    channel_id, other = desk.channel(), desk.channel("other")
    first_at = desk.now

    assert desk.write(lambda c: note_webhook(c, channel_id, desk.now))
    desk.wait(5)
    assert not desk.write(lambda c: note_webhook(c, channel_id, desk.now))
    assert noted_at(desk, channel_id) == first_at
    desk.wait(0.1)
    assert desk.write(lambda c: note_webhook(c, channel_id, desk.now))
    assert noted_at(desk, channel_id) == desk.now
    assert noted_at(desk, other) is None


def test_storing_and_noting_wait_for_no_run_that_holds_the_channel(postgres_desk: Desk) -> None:
    channel_id = postgres_desk.channel()
    done = threading.Event()

    def hear(connection: Any) -> None:
        webhook_facts.store(connection, channel_id, [tick()], postgres_desk.now)
        note_webhook(connection, channel_id, postgres_desk.now)

    def work() -> None:
        postgres_desk.write(hear)
        done.set()

    with transaction(postgres_desk.engine) as run:
        run.execute(select(Channel.id).where(Channel.id == channel_id).with_for_update(key_share=True))
        thread = threading.Thread(target=work)
        thread.start()
        wait_until(done.is_set, within_s=5, what="the end of the webhook's transaction")
    thread.join()

    assert len(stored(postgres_desk)) == 1
    assert noted_at(postgres_desk, channel_id) is None, "the next webhook notes it"


def plans(desk: Desk, work: Callable[[Connection], Any]) -> str:
    """How the database finds the rows of the first question of `work`."""
    explain = "EXPLAIN QUERY PLAN " if desk.engine.dialect.name == "sqlite" else "EXPLAIN "
    seen: list[tuple[str, Any]] = []
    with desk.engine.connect() as connection:
        event.listen(connection, "before_cursor_execute", lambda *said: seen.append((said[2], said[3])))
        work(connection)
        statement, parameters = next(said for said in seen if said[0].startswith("SELECT"))
        told = connection.exec_driver_sql(explain + statement, parameters).all()
        connection.rollback()
    return " ".join(str(row[-1]) for row in told)


def test_the_few_that_are_asked_for_are_found_among_the_many_that_are_parked(desk: Desk) -> None:
    channel_id = desk.channel()
    store(desk, channel_id, *(tick(str(number)) for number in range(3000)))
    later = desk.now + timedelta(minutes=5)
    due = [str(number) for number in range(3)]
    desk.write(
        lambda c: c.execute(
            update(WebhookFact).where(WebhookFact.whatsapp_key_id.not_in(due)).values(next_try_at=later)
        )
    )
    if desk.engine.dialect.name == "postgresql":
        desk.write(lambda c: c.execute(text("ANALYZE webhook_facts")))

    taking = plans(desk, lambda c: webhook_facts.take_due(c, desk.now, 100))
    waking = plans(desk, lambda c: webhook_facts.wake_parked(c, {channel_id: ["7", "8"]}, desk.now))

    assert "ix_webhook_facts_next_try_at" in taking, taking
    assert "ix_webhook_facts_whatsapp_key_id" in waking, waking
