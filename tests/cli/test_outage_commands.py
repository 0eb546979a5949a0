"""`truetick outages` in an operator's hands."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import Engine, insert, select, update

from tests.cli.conftest import Said
from worker.channels import registry
from worker.channels.registry import NewChannel
from worker.database import open_engine, transaction
from worker.domain.channel_state import ChannelState
from worker.domain.message_request import parse_request
from worker.domain.message_status import MessageState
from worker.domain.pace import Pace
from worker.models import Channel, Message, Outage, OutageMessage
from worker.outbox.enqueue import Defaults, enqueue
from worker.outbox.events import Source

Truetick = Callable[..., Said]
S = MessageState
NOON = datetime(2025, 11, 22, 12, 0, tzinfo=UTC)
CHANNELS = ("default", "sales")
NUMBERS = ("7033009600", "7033009601", "7033009602")


def after(seconds: float) -> datetime:
    return NOON + timedelta(seconds=seconds)


#: The channel was mute for ten minutes, and one restart helped.
MUTE = {
    "state": ChannelState.MUTE,
    "reason": "",
    "began_at": NOON,
    "began_by": "last_tick",
    "noticed_at": after(75),
    "noticed_by": "worker",
    "alarmed_at": after(77),
    "restarted_at": after(80),
    "restart_result": "restarted",
    "ended_at": after(600),
    "ended_by": "info",
}
#: It has been waiting for somebody with a phone since.
OPEN = {
    "state": ChannelState.DOWN,
    "reason": "need_scan",
    "began_at": after(1000),
    "began_by": "last_check",
    "noticed_at": after(1030),
    "noticed_by": "webhook",
    "alarm_due_at": after(1030),
}


@pytest.fixture
def engine(sqlite_url: str) -> Iterator[Engine]:
    """A database with the channels `default` and `sales`, and three messages on the first."""
    engine = open_engine(sqlite_url)
    with transaction(engine) as connection:
        default, _ = (registry.add(connection, NewChannel(name=name, pace=Pace(1, 5)), NOON) for name in CHANNELS)
        for number in NUMBERS:
            enqueue(
                connection,
                parse_request({"to": number, "text": "Hello"}),
                channel_id=default,
                message_id=uuid4(),
                defaults=Defaults(region="IN", on_doubt="hold"),
                now=NOON,
                source=Source.OPERATOR,
            )
    yield engine
    engine.dispose()


def outage(engine: Engine, channel: str = "default", **values: Any) -> int:
    with transaction(engine) as connection:
        channel_id = connection.execute(select(Channel.id).where(Channel.name == channel)).scalar_one()
        made = insert(Outage).values(channel_id=channel_id, **values).returning(Outage.id)
        found: int = connection.execute(made).scalar_one()
    return found


def endanger(engine: Engine, outage_id: int, seq: int, then: MessageState, **now: Any) -> None:
    with transaction(engine) as connection:
        connection.execute(insert(OutageMessage).values(outage_id=outage_id, message_seq=seq, state_then=then))
        connection.execute(update(Message).where(Message.seq == seq).values(**now))


@pytest.fixture
def story(engine: Engine) -> int:
    """An outage that is over, with one message of each fate. Returns its id."""
    outage_id = outage(engine, **MUTE)
    endanger(engine, outage_id, 1, S.ACCEPTED, state=S.DELIVERED, resends=1, duplicates=1)
    endanger(engine, outage_id, 2, S.ACCEPTED, state=S.READ)
    endanger(engine, outage_id, 3, S.SENDING, state=S.IN_DOUBT, attention="no_proof")
    return outage_id


def flowing(text: str) -> str:
    """The sentences of a page, however they were wrapped."""
    return " ".join(text.split())


def test_without_outages_that_is_said(on: Truetick, engine: Engine) -> None:
    assert on("outages").out == "There is no outage.\n"
    assert (
        on("outages", "--open", "--channel", "sales").out == "There is no outage that is not over on channel sales.\n"
    )
    assert on("outages", "--json").json == {"outages": []}


@pytest.mark.parametrize("columns", [80, 120])
def test_the_list_fits_the_terminal_with_the_newest_outage_first(
    on: Truetick, engine: Engine, story: int, columns: int
) -> None:
    outage(engine, "sales", **OPEN)

    said = on("outages", columns=columns)

    assert said.code == 0
    assert all(len(line) <= columns for line in said.out.splitlines())
    newest, oldest = (line for line in said.out.splitlines() if "2025-11-22" in line)
    assert "sales" in newest
    assert "2025-11-22 12:16" in newest
    assert " days, open" in newest
    for cell in ("default", "mute", "2025-11-22 12:00", "10 min", "1 min", " 3"):
        assert cell in oldest
    assert "(need_scan)" in said.out
    assert ("1 in doubt" in said.out) == (columns == 120)


def test_the_list_is_narrowed_by_channel_by_what_is_open_and_by_number(
    on: Truetick, engine: Engine, story: int
) -> None:
    newest = outage(engine, "sales", **OPEN)

    def ids(*options: str) -> list[int]:
        return [found["id"] for found in on("outages", "--json", *options).json["outages"]]

    assert ids() == [newest, story]
    assert ids("--channel", "default") == [story]
    assert ids("--open") == [newest]
    assert ids("--limit", "1") == [newest]
    assert "These are the newest 1; --limit shows more." in on("outages", "--limit", "1").out
    assert "--limit" not in on("outages").out


def test_the_page_tells_the_story_of_an_outage_in_sentences(on: Truetick, story: int) -> None:
    said = on("outages", str(story))

    told = flowing(said.out)
    assert said.code == 0
    for sentence in (
        f"Outage {story} of channel default It began at 2025-11-22 12:00:00 UTC, or later: then WhatsApp ticked",
        "It was noticed at 2025-11-22 12:01:15 UTC, 1 min later, while sending: WaSender said connected, but",
        "People were told at 2025-11-22 12:01:17 UTC.",
        "asked at 2025-11-22 12:01:20 UTC to restart the session. The result: restarted.",
        "It ended at 2025-11-22 12:10:00 UTC, after 10 min: WhatsApp ticked a message.",
        "3 messages were at WaSender, or on the way there, without a tick. Now: 1 in doubt, 1 delivered, 1 read, "
        "1 sent again, 1 duplicate, 1 for a person to look at.",
        "Of 1 it is not known yet whether WhatsApp has it.",
    ):
        assert sentence in told
    assert "What to do" not in told
    assert all(len(line) <= 80 for line in said.out.splitlines())


def test_the_page_shows_each_message_at_risk_with_its_whole_id_and_half_its_number(
    on: Truetick, engine: Engine, story: int
) -> None:
    with transaction(engine) as connection:
        ids = connection.execute(select(Message.id)).scalars().all()

    said = on("outages", str(story))

    assert all(str(message_id) in said.out for message_id in ids)
    assert "+91*******600" in said.out
    assert not any(number in said.out for number in NUMBERS)
    assert "sent again" in said.out
    assert "(no_proof)" in said.out


def test_an_open_outage_says_so_and_what_to_do(on: Truetick, engine: Engine) -> None:
    outage_id = outage(engine, "sales", **OPEN)
    with transaction(engine) as connection:
        connection.execute(update(Channel).values(state=ChannelState.DOWN, reason="need_scan"))

    told = flowing(on("outages", str(outage_id)).out)

    assert "or later: then WaSender said for the last time that the channel was connected." in told
    assert "30 s later, by a webhook of WaSender: the channel was down (need_scan)." in told
    assert "People have not been told yet." in told
    assert "It is not over. It has lasted for" in told
    assert "What to do: Scan the QR code" in told
    assert "None: nothing was at WaSender without a tick." in told


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"alarm_due_at": datetime(2099, 1, 1, tzinfo=UTC)}, "People are told at 2099-01-01 00:00:00 UTC, if it is"),
        ({"ended_at": after(1100), "ended_by": "status"}, "It was over before people had to be told."),
        ({"began_by": "session_logs"}, "It began at 2025-11-22 12:16:40 UTC, by WaSender's own session logs."),
        ({"began_by": "first_unticked"}, "12:16:40 UTC, when WaSender took the first message that got no tick."),
        (
            {"began_by": "noticed", "noticed_at": after(1000)},
            "of channel sales It was noticed at 2025-11-22 12:16:40 UTC, by a webhook of WaSender: the channel was "
            "down (need_scan). Nothing shows how long before that it began.",
        ),
        ({"alarm_due_at": None}, "People are not told of it, for a person has paused the channel."),
        ({"began_by": "a new way", "noticed_by": "a new sense"}, "by a new way. It was noticed"),
        ({"ended_at": after(1100), "ended_by": "a new sign"}, "after 2 min: learnt from a new sign."),
        (
            {"restarted_at": after(1040)},
            "WaSender was asked at 2025-11-22 12:17:20 UTC to restart the session. It is",
        ),
    ],
)
def test_every_way_of_a_story_has_its_sentence(
    on: Truetick, engine: Engine, values: dict[str, Any], said: str
) -> None:
    outage_id = outage(engine, "sales", **OPEN | values)
    assert said in flowing(on("outages", str(outage_id)).out)


def test_json_tells_the_same_to_programs_and_nothing_else(on: Truetick, story: int) -> None:
    told = on("outages", str(story), "--json").json

    assert (told["id"], told["channel"], told["state"], told["open"]) == (story, "default", "mute", False)
    assert (told["noticed_after_s"], told["duration_s"]) == (75, 600)
    assert told["at_risk"]["total"] == 3
    assert [message["state"] for message in told["messages"]] == ["delivered", "read", "in_doubt"]
    assert [message["recipient"] for message in told["messages"]] == [f"+91*******60{last}" for last in range(3)]


def test_of_many_messages_the_page_shows_some_and_counts_the_rest(on: Truetick, engine: Engine) -> None:
    outage_id = outage(engine, **MUTE)
    with transaction(engine) as connection:
        row = connection.execute(select(Message.__table__).where(Message.seq == 1)).one()._mapping
        copies = [dict(row) | {"seq": seq, "id": UUID(int=seq), "idempotency_key": None} for seq in range(100, 160)]
        connection.execute(
            insert(Message), [{_attribute(name): value for name, value in copy.items()} for copy in copies]
        )
        at_risk = [{"outage_id": outage_id, "message_seq": copy["seq"], "state_then": S.ACCEPTED} for copy in copies]
        connection.execute(insert(OutageMessage), at_risk)

    assert "… and 10 more; --json tells of them." in on("outages", str(outage_id)).out
    assert len(on("outages", str(outage_id), "--json").json["messages"]) == 60


def _attribute(column: str) -> str:
    return "meta" if column == "metadata" else column


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["7"], 1, "There is no outage 7. List them with: truetick outages"),
        (["--channel", "nowhere"], 1, "no channel named 'nowhere'. Known channels: default, sales"),
        (["7", "--open"], 2, "leave them out to see one outage"),
        (["7", "--channel", "sales"], 2, "leave them out to see one outage"),
    ],
)
def test_what_cannot_be_done_is_said_in_a_sentence(
    on: Truetick, engine: Engine, arguments: list[str], code: int, said: str
) -> None:
    answer = on("outages", *arguments)

    assert (answer.code, answer.out) == (code, "")
    assert said in flowing(answer.err.replace("│", " "))


def test_no_text_from_outside_steers_the_terminal(on: Truetick, engine: Engine) -> None:
    outage_id = outage(
        engine, **OPEN | {"reason": "[bold]\x1b[31mred", "restarted_at": NOON, "restart_result": "\x1b[2J"}
    )
    for said in (on("outages"), on("outages", str(outage_id))):
        assert "\x1b" not in said.out
        assert "[bold]" in flowing(said.out)
