"""`truetick send`, `messages` and `why` in an operator's hands."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
from sqlalchemy import insert, select, update

from tests.cli.conftest import Said
from tests.real_servers import Valkey
from wasender_sandbox.control import Sandbox
from worker import health
from worker.database import open_engine, snapshot, transaction
from worker.domain.channel_state import ChannelState
from worker.domain.pace import Pace, Pacing
from worker.models import Attempt, Channel, Event, Message
from worker.outbox.expiry import expire_due
from worker.parts import Parts

Truetick = Callable[..., Said]


def test_a_sent_message_is_kept_and_says_what_it_waits_for(on: Truetick) -> None:
    said = on("send", "+91 70330 09600", "Hello")

    assert said.code == 0
    assert "to +917033009600 is pending" in said.out
    assert "The broker cannot be reached" in said.out
    assert "truetick up" in said.out
    assert said.err == ""


def test_a_broker_that_is_full_takes_nothing_and_costs_nothing(on: Truetick, broker: Valkey, sqlite_url: str) -> None:
    on("channels", "add", "sales", "--api-key", "k")
    engine = open_engine(sqlite_url)
    with transaction(engine) as connection:
        connection.execute(update(Channel).values(state=ChannelState.UP))
    engine.dispose()
    broker.client.config_set("maxmemory", 1)

    said = on("send", "7033009600", "Hello", "--channel", "sales", CELERY_BROKER_URL=broker.url)
    resumed = on("channels", "set-key", "sales", "--api-key", "k", CELERY_BROKER_URL=broker.url)

    assert (said.code, resumed.code) == (0, 0)
    assert "is pending" in said.out
    assert "The broker cannot be reached or is full" in " ".join(resumed.out.split())


def test_json_is_the_only_thing_on_standard_output(on: Truetick) -> None:
    sent = on("send", "7033009600", "Hello", "--crm-ref", "4711", "--json").json

    listed = on("messages", "--to", "+91 70330-09600", "--json").json["messages"]
    explained = on("why", sent["id"], "--json").json

    assert [message["id"] for message in listed] == [sent["id"]]
    assert explained["message"]["crm_ref"] == "4711"
    assert explained["whose_turn"] == "person"
    assert [event["after"] for event in explained["events"]] == ["queued"]


def test_the_same_idempotency_key_adds_nothing(on: Truetick) -> None:
    first = on("send", "7033009600", "Hello", "--idempotency-key", "once")
    second = on("send", "7033009600", "Hello", "--idempotency-key", "once")
    third = on("send", "7033009600", "Another", "--idempotency-key", "once")

    assert (first.code, second.code, third.code) == (0, 0, 1)
    assert "It was there already" in " ".join(second.out.split())
    assert "Use a new key" in third.err


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["send", "12", "Hello"], 1, "too few digits"),
        (["send", "7033009600"], 1, "needs a text"),
        (["send", "7033009600", " "], 1, "must not be blank"),
        (["send", "7033009600", "Hello", "--expires-at", "2020-01-01T00:00:00Z"], 1, "has passed"),
        (["send", "7033009600", "Hello", "--channel", "nowhere"], 1, "no channel named 'nowhere'"),
        (["send", "7033009600", "Hello", "--send-after", "tomorrow"], 1, "send_after"),
        (["send", "7033009600", "Hello", "--priority", "urgent"], 2, "bulk"),
        (["why", "17"], 2, "UUID"),
        (["why", str(uuid4())], 1, "There is no message"),
        (["messages", "--status", "lost"], 2, "in_doubt"),
        (["messages", "--to", "\udcff"], 2, "bytes that are no characters"),
        (["messages", "--crm-ref", "\udcff"], 2, "bytes that are no characters"),
        (["messages", "--channel", "nowhere"], 1, "no channel named 'nowhere'"),
    ],
)
def test_what_cannot_be_done_is_said_in_a_sentence(on: Truetick, arguments: list[str], code: int, said: str) -> None:
    answer = on(*arguments)

    assert (answer.code, answer.out) == (code, "")
    assert said in " ".join(answer.err.replace("│", " ").split())


def test_quiet_hours_are_heeded_or_not_as_a_person_says(on: Truetick, sqlite_url: str) -> None:
    everyone = {"TRUETICK_QUIET_HOURS": "21:00-08:00"}
    on("send", "7033009600", "Hello", "--quiet-hours", **everyone)
    on("send", "7033009600", "Hello", "--no-quiet-hours", "--priority", "bulk", **everyone)
    engine = open_engine(sqlite_url)
    with snapshot(engine) as connection:
        zones = connection.execute(select(Message.quiet_zone).order_by(Message.seq)).scalars().all()
    engine.dispose()

    assert [zone is not None for zone in zones] == [True, False]


@pytest.mark.parametrize("columns", [80, 120])
def test_a_list_fits_the_terminal_and_shows_ids_whole(on: Truetick, columns: int) -> None:
    message = on("send", "7033009600", "Hello", "--crm-ref", "[bold]\x1b[31m4711", "--json").json

    listed = on("messages", columns=columns)

    assert message["id"] in listed.out
    assert "+917033009600" in listed.out
    assert all(len(line) <= columns for line in listed.out.splitlines())
    assert "\x1b" not in listed.out


def test_a_code_that_says_no_more_than_the_status_is_left_out(on: Truetick, sqlite_url: str) -> None:
    on("send", "7033009600", "Hello", "--expires-at", "2099-01-01T00:00:00Z")
    engine = open_engine(sqlite_url)
    with transaction(engine) as connection:
        assert expire_due(connection, now=datetime(2100, 1, 1, tzinfo=UTC), most=10) == 1
    engine.dispose()

    listed = on("messages")

    assert "expired" in listed.out
    assert "expired: expired" not in listed.out


def test_why_names_the_channel_the_queue_and_what_to_do(
    on: Truetick, sqlite_url: str, build: Callable[..., Parts], sandbox: Sandbox
) -> None:
    parts = build(sqlite_url, TRUETICK_PACE="1/5")
    sandbox.create_channel("default", api_key=parts.settings.gateway_api_key.get_secret_value())
    sandbox.set_status("default", "need_scan")
    health.check_channels(parts)
    on("send", "7033009600", "First")
    message = on("send", "7033009601", "Second", "--json").json

    said = on("why", message["id"])

    told = " ".join(said.out.split())
    assert "not connected (need_scan)" in told
    assert "Channel default has been down (need_scan)" in told
    assert "One message goes out before it" in told
    assert "What to do Scan the QR code" in told
    assert "Whose turn yours" in told


def test_a_throttled_channel_says_until_when_and_counts_the_queue_from_there(on: Truetick, sqlite_url: str) -> None:
    on("send", "7033009600", "First")
    message = on("send", "7033009601", "Second", "--json").json
    slot = datetime.now(UTC).replace(microsecond=0) + timedelta(minutes=10)
    refused = Pacing(pace=Pace.parse("1/5")).throttled(7200)
    engine = open_engine(sqlite_url)
    with transaction(engine) as connection:
        up = {"state": ChannelState.UP, "checked_at": datetime.now(UTC), "next_slot_at": slot}
        up |= {"slowdown": refused.slowdown}
        connection.execute(update(Channel).values(up))
    engine.dispose()

    told = on("why", message["id"], "--json").json

    assert told["message"]["pending_reason"] == "throttled"
    assert told["whose_turn"] == "wasender"
    assert f"asked to wait; sending goes on at {slot:%H:%M:%S} UTC" in told["because"][0]
    assert f"counted from {slot:%H:%M:%S} UTC" in told["because"][1]
    assert told["expected_at"] == (slot + refused.interval).isoformat().replace("+00:00", "Z")


def test_of_a_long_story_why_shows_the_beginning_and_the_end(on: Truetick, sqlite_url: str) -> None:
    message = on("send", "7033009600", "Hello", "--json").json
    engine = open_engine(sqlite_url)
    at = datetime(2026, 1, 1, tzinfo=UTC)
    attempt = {"message_seq": 1, "finished_at": at, "outcome": "not_sent", "cause": "gateway_unreachable"}
    attempt |= {"detail": "", "worker": "here"}
    event = {"message_seq": 1, "channel_id": 1, "at": at, "source": "worker", "after": "queued"}
    with transaction(engine) as connection:
        connection.execute(insert(Attempt), [attempt | {"number": number} for number in range(1, 1301)])
        connection.execute(insert(Event), [event | {"reason": f"try-{number}"} for number in range(1, 1301)])
    engine.dispose()

    said = on("why", message["id"], columns=120)
    told = on("why", message["id"], "--json").json

    assert "… 1284 more" in said.out
    assert "… 1285 more" in said.out
    assert "1300" in said.out
    assert "try-1300" in said.out
    assert "try-7 " not in said.out
    assert [attempt["number"] for attempt in told["attempts"]] == list(range(1101, 1301))


def test_without_a_database_the_way_to_get_one_is_told(truetick: Truetick) -> None:
    said = truetick("messages")

    assert (said.code, said.out) == (1, "")
    assert "truetick db upgrade" in said.err
    assert "truetick up" in said.err


def test_a_database_without_tables_says_the_same(
    truetick: Truetick, tmp_path_factory: pytest.TempPathFactory
) -> None:
    empty = tmp_path_factory.mktemp("empty") / "empty.db"
    empty.touch()

    said = truetick("status", DATABASE_URL=f"sqlite:///{empty}")

    assert said.code == 1
    assert "no tables" in said.err
    assert "truetick db upgrade" in said.err


def test_a_database_that_is_away_is_named_without_its_password(truetick: Truetick) -> None:
    said = truetick("status", DATABASE_URL="postgresql://me:secret@127.0.0.1:9/crm")

    assert said.code == 1
    assert "127.0.0.1:9/crm" in said.err
    assert "secret" not in said.err


@pytest.mark.parametrize(
    ("arguments", "url", "said"),
    [
        (("db", "current"), "postgresql://me:secret@127.0.0.1:9/crm", "psycopg://127.0.0.1:9/crm cannot be used"),
        (("db", "upgrade"), "postgresql://me:secret@127.0.0.1:9/crm", "psycopg://127.0.0.1:9/crm cannot be used"),
        (("db", "upgrade", "0815"), None, "There are: 0001,"),
        (("db", "downgrade", "0815", "--yes"), None, "There are: 0001,"),
    ],
)
def test_what_is_wrong_with_the_database_is_told_in_a_sentence(
    on: Truetick, arguments: tuple[str, ...], url: str | None, said: str
) -> None:
    answer = on(*arguments, **({"DATABASE_URL": url} if url else {}))

    assert (answer.code, answer.out) == (1, "")
    assert said in answer.err
    assert "secret" not in answer.err


def test_programs_learn_whether_the_database_is_up_to_date(on: Truetick) -> None:
    told = on("db", "current", "--json").json

    assert told["revision"] == told["newest"] >= "0003"


def test_a_waiting_message_is_withdrawn_and_what_cannot_be_decided_is_refused_in_a_sentence(on: Truetick) -> None:
    sent = on("send", "7033009600", "Hello", "--json").json

    too_soon = on("resend", sent["id"])
    withdrawn = on("cancel", sent["id"])
    again = on("resend", sent["id"])
    unknown = on("cancel", str(uuid4()))

    assert too_soon.code == 1
    assert "It goes out by itself" in too_soon.err
    assert withdrawn.code == 0
    assert "is withdrawn" in withdrawn.out
    assert on("messages", "--json").json["messages"][0]["status"] == "cancelled"
    assert again.code == 1
    assert "Send a new one instead" in again.err
    assert unknown.code == 1
    assert "There is no message" in unknown.err
