"""What the message log proves about attempts in doubt. A wrong "absent" sends twice, a wrong "found" lies."""

from datetime import timedelta
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.domain.log_scene import TEXT, TO, at, doubted, hidden, read, row, verdicts
from worker.domain.account import LogRow
from worker.domain.log_match import Absent, Ambiguous, Found, NoProof, Reason, Verdict, match_log
from worker.domain.log_reading import DoubtedAttempt, LogReading

KNOWN = row(100, "Something before", "+15550001111", -5)


def verdict(reading: LogReading, attempt: DoubtedAttempt | None = None, **given: object) -> Verdict:
    """The verdict about one attempt."""
    attempt = attempt or doubted()
    return verdicts([attempt], reading, **given)[attempt.attempt_id]  # type: ignore[arg-type]


def no_proof(reason: Reason) -> NoProof:
    return NoProof(reason=reason)


# --- found


@pytest.mark.parametrize("status", ["in_progress", "sent", "failed"])
def test_one_row_for_one_attempt_is_its_row(status: str) -> None:
    found = verdict(read(row(107, status=status), KNOWN))
    assert found == Found(row_id=107, status=status, verified=True)


def test_it_is_found_however_little_time_has_passed_and_however_few_pages_were_read() -> None:
    assert verdict(read(row(107), whole=False, minutes=0.6)) == Found(row_id=107, status="sent", verified=False)


def test_rows_from_before_the_attempt_are_not_its() -> None:
    assert verdict(read(KNOWN, row(99), row(50))) == Absent()


def test_rows_that_another_attempt_bears_are_not_its() -> None:
    assert verdict(read(row(107), row(110), KNOWN), known=(100, 107)) == Found(
        row_id=110, status="sent", verified=True
    )


def test_alike_attempts_get_alike_rows_in_the_order_of_their_ids() -> None:
    attempts = [doubted(2, minutes=3), doubted(1, minutes=0)]
    found = verdicts(attempts, read(row(120), row(107), KNOWN))
    assert found == {
        1: Found(row_id=107, status="sent", verified=True),
        2: Found(row_id=120, status="sent", verified=True),
    }


def test_an_id_from_between_tells_which_of_two_alike_attempts_arrived() -> None:
    attempts = [doubted(1, after=100), doubted(2, after=150, minutes=3)]
    log = (row(107), row(150, "else"), KNOWN)
    assert verdicts(attempts, read(*log), known=(100, 150)) == {
        1: Found(row_id=107, status="sent", verified=True),
        2: Absent(),
    }


def test_the_first_message_of_a_channel_is_found_by_its_time() -> None:
    attempt = doubted(after=None)
    zones_away = 14 * 60
    assert verdict(read(row(7, minutes=zones_away)), attempt, known=()) == Found(
        row_id=7, status="sent", verified=False
    )
    assert verdict(read(row(7, minutes=-30 * 60)), attempt, known=()) == Absent()


def test_a_row_without_a_readable_time_may_be_of_any_time() -> None:
    assert verdict(read(row(7, minutes=None)), doubted(after=None), known=()) == Found(
        row_id=7, status="sent", verified=False
    )


# --- ambiguous


def test_more_rows_than_attempts_leave_it_open() -> None:
    assert verdict(read(row(120), row(107), KNOWN)) == Ambiguous(rows=2, attempts=1)


def test_fewer_rows_than_alike_attempts_leave_it_open_for_all_of_them() -> None:
    tie = Ambiguous(rows=1, attempts=2)
    assert verdicts([doubted(1), doubted(2, minutes=3)], read(row(120), KNOWN)) == {1: tie, 2: tie}


def test_a_row_is_not_taken_from_an_alike_message_whose_answer_is_still_awaited() -> None:
    on_its_way = doubted(2, after=100, minutes=9)
    assert verdict(read(row(120), KNOWN), in_flight=[on_its_way]) == no_proof(Reason.ANSWER_AWAITED)
    assert verdict(read(row(120), row(107), KNOWN), in_flight=[on_its_way]) == Found(
        row_id=107, status="sent", verified=True
    )


# --- absent, and everything that keeps it from being proven


def test_a_whole_log_without_it_proves_that_it_was_not_taken() -> None:
    assert verdict(read(row(107, "Another text"), row(105, to="+15550002222"), KNOWN)) == Absent()
    assert verdict(read(), doubted(after=None), known=()) == Absent(), "of a channel that never sent anything"


def test_too_early_a_look_proves_nothing() -> None:
    assert verdict(read(KNOWN, minutes=2.4)) == no_proof(Reason.TOO_EARLY)
    assert verdict(read(KNOWN, minutes=2.5)) == Absent()


def test_the_wait_counts_from_the_reading_not_from_the_matching() -> None:
    reading = read(KNOWN, minutes=1)
    late = match_log([doubted()], reading, known={100: at(-5)}, logging=True, absent_after=timedelta(seconds=20))
    assert late == {1: Absent()}
    assert verdict(reading) == no_proof(Reason.TOO_EARLY)


@pytest.mark.parametrize("logging", [True, None])
def test_hidden_rows_prove_nothing(logging: bool | None) -> None:
    assert verdict(read(hidden(107), KNOWN), logging=logging) == no_proof(Reason.LOGGING_OFF)


def test_a_session_that_does_not_log_proves_nothing() -> None:
    assert verdict(read(KNOWN), logging=False) == no_proof(Reason.LOGGING_OFF)


def test_where_nobody_says_that_it_logs_a_later_row_has_to_show_it() -> None:
    assert verdict(read(KNOWN), logging=None) == no_proof(Reason.LOGGING_UNKNOWN)
    assert verdict(read(row(107, "Another text"), KNOWN), logging=None) == Absent()


def test_hidden_rows_that_others_bear_or_that_are_older_do_not_matter() -> None:
    assert verdict(read(hidden(107), KNOWN, hidden(98)), known=(100, 107)) == Absent()


def test_pages_that_do_not_reach_back_prove_nothing() -> None:
    newer = [row(200 - number, f"text {number}") for number in range(30)]
    older = [row(100 - number, f"older {number}") for number in range(10)]
    assert verdict(read(*newer, whole=False)) == no_proof(Reason.PAGES_MISSING)
    assert verdict(read(*newer, *older[:5], whole=False)) == no_proof(Reason.PAGES_MISSING), "by luck, perhaps"
    assert verdict(read(*newer, *older, whole=False)) == Absent()


def test_pages_in_another_order_prove_nothing_until_all_are_read() -> None:
    rows = [row(number, f"text {number}") for number in range(80, 120)]
    assert verdict(read(*rows, whole=False)) == no_proof(Reason.PAGES_MISSING)
    assert verdict(read(*rows[::-1], whole=False)) == Absent()
    assert verdict(read(*rows, whole=True)) == Absent()


def test_a_log_with_ids_of_its_own_proves_nothing() -> None:
    own_ids = [row(7, "Another text"), row(6, "Something before", "+15550001111", -5)]
    assert verdict(read(*own_ids)) == no_proof(Reason.IDS_UNVERIFIED)
    assert verdict(read(row(8), *own_ids)) == no_proof(Reason.IDS_UNVERIFIED), "though it may well be row 8"
    near = [row(130), row(104, "Another text"), row(94, "Something before")]
    assert verdict(read(*near), known=(100,)) == no_proof(Reason.IDS_UNVERIFIED)


def test_ids_that_meet_ours_by_chance_are_not_ours() -> None:
    near = [row(number, f"text {number}") for number in (130, 120, 110, 100, 90)]
    reading = read(row(125), *near)
    assert verdict(reading, known=(97, 100, 104, 111)) == no_proof(Reason.IDS_UNVERIFIED)


def test_ids_of_a_sequence_that_is_ahead_of_ours_are_not_adopted() -> None:
    ahead = [row(9002), row(9001, "Something before", "+15550001111", -5)]
    assert verdict(read(*ahead)) == no_proof(Reason.IDS_UNVERIFIED)


def test_a_part_of_a_log_that_lacks_our_ids_gives_nothing_away() -> None:
    part = read(row(130), row(104, "Another text"), whole=False)
    assert verdict(part, known=(110,)) == no_proof(Reason.IDS_UNVERIFIED)
    assert verdict(part, known=(104, 110)) == Found(row_id=130, status="sent", verified=True)


def test_an_id_and_a_time_that_contradict_each_other_prove_nothing() -> None:
    assert verdict(read(row(107, minutes=-30 * 60)), known=()) == no_proof(Reason.IDS_UNVERIFIED)


def test_a_log_that_lacks_a_message_which_was_taken_proves_nothing() -> None:
    assert verdict(read(row(107, "else"), KNOWN), known=(100, 107, 115)) == no_proof(Reason.ROWS_MISSING)


def test_a_message_taken_a_moment_ago_may_be_missing_in_the_log() -> None:
    known = {100: at(-5), 115: at(9.5)}
    assert match_log([doubted()], read(KNOWN), known=known, logging=True) == {1: Absent()}


def test_the_log_of_another_session_proves_nothing() -> None:
    foreign = [row(number, "foreign", "+15550003333") for number in range(300, 20, -11)]
    assert verdict(read(*foreign), known=(100, 151)) == no_proof(Reason.IDS_UNVERIFIED)


def test_an_id_of_another_channel_bounds_a_channel_that_never_sent() -> None:
    assert verdict(read(row(107)), known=()) == Found(row_id=107, status="sent", verified=False)
    assert verdict(read(row(107, "Another text")), known=()) == Absent()
    assert verdict(read(row(99)), known=()) == no_proof(Reason.IDS_UNVERIFIED)


# --- what counts as the same message


@pytest.mark.parametrize(
    "to", ["917033009600", TO, "917033009600@s.whatsapp.net", "917033009600:7@s.whatsapp.net", "+91 70330-09600"]
)
def test_the_recipient_may_be_spelled_in_many_ways(to: str) -> None:
    assert verdict(read(row(107, to=to), KNOWN)) == Found(row_id=107, status="sent", verified=True)


@pytest.mark.parametrize("to", ["120363025@g.us", "1203-63025@g.us", "1203630@newsletter"])
def test_groups_and_newsletters_are_recipients_too(to: str) -> None:
    attempt = doubted(to=to)
    assert verdict(read(row(107, to=to), KNOWN), attempt) == Found(row_id=107, status="sent", verified=True)
    assert verdict(read(row(107), KNOWN), attempt) == Absent()


@pytest.mark.parametrize("to", ["7033009600", "+9170******00", "917033009600@lid", "someone", "", "009170 33009600"])
def test_a_recipient_that_may_be_the_same_is_no_proof(to: str) -> None:
    assert verdict(read(row(107, to=to), KNOWN)) == no_proof(Reason.ROW_UNCLEAR)


@pytest.mark.parametrize(
    "text",
    [f"  {TEXT}\n", TEXT.replace(" ", "\r\n"), "Cafe\u0301 at noon"],
)
def test_outer_blanks_line_ends_and_composition_do_not_count(text: str) -> None:
    posted = {TEXT.replace(" ", "\r\n"): TEXT.replace(" ", "\n"), "Cafe\u0301 at noon": "Caf\u00e9 at noon"}
    attempt = doubted(text=posted.get(text, TEXT))
    assert verdict(read(row(107, text), KNOWN), attempt) == Found(row_id=107, status="sent", verified=True)


@pytest.mark.parametrize(
    ("posted", "logged"),
    [
        ("You &  me: it's done", "You &amp; me: it&#039;s done"),
        ("Order ✅ done", "Order ? done"),
        ("👍", "?"),
        ("A rather long message that a log may well cut", "A rather long message that a log…"),
        ("CASE", "case"),
    ],
)
def test_a_text_that_a_log_may_have_changed_is_no_proof(posted: str, logged: str) -> None:
    assert verdict(read(row(107, logged), KNOWN), doubted(text=posted)) == no_proof(Reason.ROW_UNCLEAR)


@pytest.mark.parametrize(
    "content", [{"conversation": TEXT}, {"a": {"b": 1}}, {"image": {"url": "x"}}, {"viewOnce": True}]
)
def test_a_content_of_unknown_fields_is_no_proof(content: dict[str, object]) -> None:
    assert verdict(read(row(107, None, **content), KNOWN)) == no_proof(Reason.ROW_UNCLEAR)
    assert verdict(read(row(107, None, "+15550001111", **content), KNOWN)) == Absent()


def test_a_bottomless_content_is_no_proof() -> None:
    deep: object = TEXT
    for _ in range(500):
        deep = [deep]
    assert verdict(read(row(107, None, text2=deep, poll=deep), KNOWN)) == no_proof(Reason.ROW_UNCLEAR)


@pytest.mark.parametrize(
    ("posted", "logged"),
    [
        ({"imageUrl": "https://x/a.png"}, {"image_url": "https://x/a.png"}),
        ({"imageUrl": "https://x/a.png"}, {"imageUrl": "https://x/a.png", "viewOnce": False, "mentions": []}),
        ({"documentUrl": "https://x/a", "fileName": "a.pdf"}, {"documentUrl": "https://x/a", "filename": "a.pdf"}),
        (
            {"poll": {"question": "Q", "options": ["a", "b"], "multiSelect": False}},
            {"poll": {"options": ["a", "b"], "question": "Q"}},
        ),
        (
            {"location": {"latitude": 0.0, "longitude": 12.5}},
            {"location": {"longitude": 12.5, "latitude": 0, "name": None}},
        ),
        ({"replyTo": 7}, {"replyTo": 7, "to": "whoever", "messageType": "text", "id": 9}),
    ],
)
def test_the_same_content_in_other_spellings_is_the_same(
    posted: dict[str, object], logged: dict[str, object]
) -> None:
    assert verdict(
        read(
            LogRow(
                id=107, to=TO, content=logged | {"text": TEXT}, status="sent", failed_reason=None, created_at=None
            ),
            KNOWN,
        ),
        doubted(**posted),
    ) == Found(row_id=107, status="sent", verified=True)


@pytest.mark.parametrize(
    ("posted", "logged"),
    [
        ({"imageUrl": "https://x/a.png"}, {"imageUrl": "https://x/b.png"}),
        ({"poll": {"question": "Q", "options": ["a", "b"]}}, {"poll": {"question": "Q", "options": ["b", "a"]}}),
        ({"location": {"latitude": 0, "longitude": 1}}, {}),
        ({}, {"replyTo": 7}),
    ],
)
def test_the_same_caption_with_another_content_is_no_proof(
    posted: dict[str, object], logged: dict[str, object]
) -> None:
    assert verdict(read(row(107, **logged), KNOWN), doubted(**posted)) == no_proof(Reason.ROW_UNCLEAR)


def test_a_row_that_is_exactly_anothers_does_not_make_this_one_unclear() -> None:
    attempts = [doubted(1), doubted(2, text=f"{TEXT}!")]
    assert verdicts(attempts, read(row(107, f"{TEXT}!"), KNOWN)) == {
        1: Absent(),
        2: Found(row_id=107, status="sent", verified=True),
    }


def test_what_is_compared_is_shown_to_nobody() -> None:
    shown = repr([doubted(), read(row(107), KNOWN), verdict(read(row(107), KNOWN))])
    assert TEXT not in shown
    assert TO[1:] not in shown


# --- whatever the log and the attempts are

TEXTS = ["one", "two", "three"]
PEOPLE = ["+917033009600", "+15550001111"]
ROWS = st.builds(
    row,
    st.integers(1, 60),
    st.sampled_from(TEXTS),
    st.sampled_from([*PEOPLE, "917033009600@s.whatsapp.net", "15550001111"]),
    st.sampled_from([-60 * 30, -5, 0, 5, None]),
)
LOGS = st.lists(ROWS, max_size=12, unique_by=lambda kept: kept.id)
ATTEMPTS = st.lists(
    st.builds(
        lambda after, text, to, minutes: doubted(1, after, text, to, minutes),
        st.none() | st.integers(0, 60),
        st.sampled_from(TEXTS),
        st.sampled_from(PEOPLE),
        st.integers(-3, 12),
    ),
    max_size=5,
).map(lambda made: [_numbered(attempt, number) for number, attempt in enumerate(made)])
#: Ids of ours: mostly those of rows, now and then one that the log lacks.
LOGS_AND_KNOWN = LOGS.flatmap(
    lambda log: st.tuples(
        st.just(log),
        st.sets(st.sampled_from([kept.id for kept in log]) if log else st.nothing()),
        st.sets(st.integers(1, 60), max_size=1) | st.just(set()) | st.just(set()),
    )
).map(lambda drawn: (drawn[0], drawn[1] | drawn[2]))


def _numbered(attempt: DoubtedAttempt, number: int) -> DoubtedAttempt:
    return DoubtedAttempt(
        attempt_id=number,
        recipient=attempt.recipient,
        posted=attempt.posted,
        started_at=attempt.started_at,
        ended_at=attempt.ended_at,
        after_id=attempt.after_id,
    )


def says_the_same(logged: LogRow, attempt: DoubtedAttempt) -> bool:
    digits = (logged.to or "").removeprefix("+").removesuffix("@s.whatsapp.net")
    return digits == attempt.recipient[1:] and logged.content == {"text": attempt.posted["text"]}


def may_be(logged: LogRow, attempt: DoubtedAttempt) -> bool:
    if attempt.after_id is not None:
        return logged.id > attempt.after_id
    return logged.created_at is None or abs(logged.created_at - attempt.started_at) < timedelta(hours=26)


@settings(max_examples=400, deadline=None)
@given(ATTEMPTS, LOGS_AND_KNOWN, st.booleans(), st.integers(0, 3))
def test_no_row_is_adopted_twice_and_none_that_is_known(
    attempts: list[DoubtedAttempt], given_log: tuple[list[LogRow], set[int]], whole: bool, flying: int
) -> None:
    log, known = given_log
    asked, in_flight = attempts[flying:], attempts[:flying]
    answers = verdicts(asked, read(*log, whole=whole), known=known, in_flight=in_flight)
    adopted = [kept.row_id for kept in answers.values() if isinstance(kept, Found)]
    assert len(adopted) == len(set(adopted))
    assert not set(adopted) & known
    assert answers.keys() == {attempt.attempt_id for attempt in asked}
    rows = {kept.id: kept for kept in log}
    for attempt in asked:
        if isinstance(kept := answers[attempt.attempt_id], Found):
            assert says_the_same(rows[kept.row_id], attempt)
            assert may_be(rows[kept.row_id], attempt)


@settings(max_examples=400, deadline=None)
@given(ATTEMPTS, LOGS_AND_KNOWN, st.booleans())
def test_nothing_is_absent_while_a_row_may_be_it(
    attempts: list[DoubtedAttempt], given_log: tuple[list[LogRow], set[int]], whole: bool
) -> None:
    log, known = given_log
    answers = verdicts(attempts, read(*log, whole=whole), known=known)
    for attempt in attempts:
        open_rows = [kept for kept in log if kept.id not in known and says_the_same(kept, attempt)]
        if isinstance(answers[attempt.attempt_id], Absent):
            assert not [kept for kept in open_rows if may_be(kept, attempt)]
            assert known <= {kept.id for kept in log} | set(range(attempt.after_id or 0))


@settings(max_examples=300, deadline=None)
@given(ATTEMPTS, LOGS_AND_KNOWN, st.sets(st.integers(1, 70), max_size=6))
def test_rows_of_other_people_change_nothing(
    attempts: list[DoubtedAttempt], given_log: tuple[list[LogRow], set[int]], strange: set[int]
) -> None:
    log, known = given_log
    known &= {kept.id for kept in log}
    strange -= {kept.id for kept in log} | {attempt.after_id for attempt in attempts}
    strangers = [row(number, "one", "+4930123456") for number in sorted(strange)]
    before = verdicts(attempts, read(*log), known=known)
    assert verdicts(attempts, read(*strangers[::-1], *log), known=known) == before


@settings(max_examples=300, deadline=None)
@given(ATTEMPTS, LOGS_AND_KNOWN, st.randoms(use_true_random=False))
def test_the_order_of_the_rows_of_a_whole_log_does_not_matter(
    attempts: list[DoubtedAttempt], given_log: tuple[list[LogRow], set[int]], random: Random
) -> None:
    log, known = given_log
    before = verdicts(attempts, read(*log), known=known)
    random.shuffle(log)
    random.shuffle(attempts)
    assert verdicts(attempts, read(*log), known=known) == before
