"""A request to send: each content, each bound, and nothing that a database or a gateway could choke on."""

from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from uuid import uuid4

import pytest

from tests.outbox.desk import ALICE, NOON
from worker.domain.errors import InvalidRequest
from worker.domain.message_request import (
    CAPTIONED,
    CONTENT_FIELDS,
    LARGEST_METADATA_BYTES,
    SendRequest,
    parse_request,
)

TO = "+917033009600"
URL = "https://files.example/a.bin"
CONTENTS: dict[str, Any] = {
    "text": "Hello",
    "image_url": URL,
    "video_url": URL,
    "document_url": URL,
    "audio_url": URL,
    "sticker_url": URL,
    "contact": {"name": "Asha", "phone": "+91 70330 09600"},
    "location": {"latitude": 12.97, "longitude": -77.59, "name": "Office", "address": None},
    "poll": {"question": "Tea?", "options": ["yes", "no"], "multi_select": True},
}


def request(**given: Any) -> SendRequest:
    return parse_request({"to": TO} | ({"text": "Hello"} if not given.keys() & {*CONTENTS} else {}) | given)


def refusal(**given: Any) -> str:
    with pytest.raises(InvalidRequest) as caught:
        request(**given)
    assert caught.value.code == "invalid_request"
    assert caught.value.__cause__ is None
    return caught.value.message


@pytest.mark.parametrize("name", CONTENTS)
def test_each_content_goes_through_alone_and_no_two_of_them(name: str) -> None:
    kept = request(**{name: CONTENTS[name]})
    assert kept.kind == name.removesuffix("_url")
    assert list(kept.content) == [name]
    for other in set(CONTENT_FIELDS) - {name}:
        if name != "text":
            assert "one content" in refusal(**{name: CONTENTS[name], other: CONTENTS[other]})


@pytest.mark.parametrize("name", CONTENT_FIELDS)
def test_a_caption_goes_only_with_what_whatsapp_shows_it_with(name: str) -> None:
    given = {name: CONTENTS[name], "text": "a caption"}
    if name in CAPTIONED:
        assert request(**given).content["text"] == "a caption"
    else:
        assert "caption" in refusal(**given)


def test_a_message_needs_a_recipient_and_a_content() -> None:
    assert "needs a text" in refusal(text=None)
    with pytest.raises(InvalidRequest, match="to"):
        parse_request({"text": "Hello"})


def test_a_file_name_belongs_to_a_document() -> None:
    assert request(document_url=URL, file_name="a.pdf").content == {"document_url": URL, "file_name": "a.pdf"}
    assert "document_url" in refusal(file_name="a.pdf")


@pytest.mark.parametrize(
    ("field", "most"),
    [("text", 4096), ("crm_ref", 200), ("idempotency_key", 200), ("to", 100_000)],
)
def test_a_text_may_be_as_long_as_its_bound(field: str, most: int) -> None:
    assert getattr(request(**{field: "\U0001f600" * most}), field)
    assert field in refusal(**{field: "x" * (most + 1)})
    if field != "to":
        assert field in refusal(**{field: ""})


@pytest.mark.parametrize("field", ["image_url", "video_url", "document_url", "audio_url", "sticker_url"])
def test_an_address_is_one_that_wasender_can_fetch(field: str) -> None:
    assert request(**{field: "HTTP://files.example/" + "a" * (2048 - 21)})
    for bad in (
        "",
        "a.png",
        "ftp://files.example/a",
        "https://a b",
        "https://a\n",
        "https://" + "a" * 2041,
        "file:///",
    ):
        assert field in refusal(**{field: bad})


@pytest.mark.parametrize(
    "poll",
    [
        {"question": "Tea?", "options": ["yes"]},
        {"question": "Tea?", "options": ["yes", "yes"]},
        {"question": "Tea?", "options": [str(number) for number in range(13)]},
        {"question": "Tea?", "options": ["yes", ""]},
        {"question": "Tea?", "options": ["yes", "n" * 101]},
        {"question": "Tea?", "options": ["yes", "n\x00"]},
        {"question": "", "options": ["yes", "no"]},
        {"question": "q" * 256, "options": ["yes", "no"]},
        {"question": "Tea?", "options": ["yes", "no"], "other": 1},
    ],
)
def test_a_poll_has_a_question_and_two_to_twelve_different_options(poll: dict[str, Any]) -> None:
    assert "poll" in refusal(poll=poll)


@pytest.mark.parametrize("degrees", [float("nan"), float("inf"), -float("inf"), 181, -181, "east", None])
def test_a_location_is_on_this_planet(degrees: object) -> None:
    assert "location" in refusal(location={"latitude": 0, "longitude": degrees})
    assert "location" in refusal(location={"latitude": degrees, "longitude": 0})


@pytest.mark.parametrize("broken", ["a\x00b", "\ud800", "\udfff x"])
def test_what_no_database_can_hold_is_refused_wherever_it_stands(broken: str) -> None:
    for given in (
        {"text": broken},
        {"crm_ref": broken},
        {"idempotency_key": broken},
        {"image_url": f"https://a/{broken}"},
        {"document_url": URL, "file_name": broken},
        {"contact": {"name": broken, "phone": "123"}},
        {"contact": {"name": "Asha", "phone": f"123{broken}"}},
        {"location": {"latitude": 0, "longitude": 0, "name": broken}},
        {"poll": {"question": broken, "options": ["yes", "no"]}},
        {"poll": {"question": "Tea?", "options": ["yes", broken]}},
        {"metadata": {"a": [broken]}},
        {"metadata": {"a": {broken: 1}}},
    ):
        refusal(**given).encode()


NAIVE = datetime(2026, 11, 22, 18, 0)  # noqa: DTZ001
NO_TIMES = ["2026-11-22T18:00:00", "2026-11-22", "soon", "", 1_700_000_000, 1.7e9, True, "1700000000", NAIVE, [], {}]
OFF_THE_CALENDAR = ["0001-01-01T00:00:00+05:00", "9999-12-31T23:59:59-05:00"]


@pytest.mark.parametrize("time", [*NO_TIMES, *OFF_THE_CALENDAR])
@pytest.mark.parametrize("field", ["send_after", "expires_at"])
def test_a_time_is_iso_8601_with_a_zone_and_within_the_calendar(field: str, time: object) -> None:
    assert field in refusal(**{field: time})


def test_a_moment_is_the_same_however_its_zone_is_written() -> None:
    spellings = ["2026-11-22T23:30:00+05:30", "2026-11-22T18:00Z", datetime(2026, 11, 22, 18, tzinfo=UTC)]
    spellings.append(datetime(2026, 11, 22, 20, tzinfo=timezone(timedelta(hours=2))))
    requests = [request(send_after=spelling) for spelling in spellings]
    assert {kept.send_after for kept in requests} == {datetime(2026, 11, 22, 18, tzinfo=UTC)}
    assert len({kept.fingerprint(ALICE) for kept in requests}) == 1


def test_a_message_expires_after_it_may_be_sent() -> None:
    later = NOON + timedelta(seconds=1)
    assert request(send_after=NOON.isoformat(), expires_at=later.isoformat()).earliest(later) == later
    assert request(send_after=later.isoformat()).earliest(NOON) == later
    assert request().earliest(NOON) == NOON
    assert "later" in refusal(send_after=NOON.isoformat(), expires_at=NOON.isoformat())


@pytest.mark.parametrize(
    "given",
    [
        {"message_id": "7"},
        {"message_id": 7},
        {"channel": "Sales"},
        {"channel": "a\n"},
        {"channel": "x" * 65},
        {"region": "IND"},
        {"region": "1N"},
        {"priority": "urgent"},
        {"priority": 0},
        {"on_doubt": "retry"},
        {"metadata": "text"},
        {"metadata": {1: 2}},
        {"to": 917033009600},
        {"to": None},
        {"txet": "Hello"},
    ],
)
def test_a_bad_or_unknown_option_is_named(given: dict[str, Any]) -> None:
    assert f"{next(iter(given))}" in refusal(**given)


def nested(levels: int) -> dict[str, Any]:
    value: dict[str, Any] = {}
    for _ in range(levels):
        value = {"a": [value]}
    return value


def test_metadata_is_plain_json_of_a_bounded_size_and_depth() -> None:
    kept = {"a": [1, -2.5, None, True, "Ünïcödé 😀", {"b": {}}], "": "\n", "backslash": "\\u0041"}
    assert request(metadata=kept).metadata == kept
    room = LARGEST_METADATA_BYTES - len('{"a": ""}')
    assert request(metadata={"a": "x" * room})
    assert "bytes" in refusal(metadata={"a": "x" * (room + 1)})
    assert "bytes" in refusal(metadata={"a": "é" * (room // 2 + 1)})
    for odd in (float("nan"), float("inf"), object(), {1, 2}, b"bytes", 10**5000, NOON):
        assert "plain JSON" in refusal(metadata={"a": odd})
    assert request(metadata=nested(15)).fingerprint(ALICE)
    for levels in (16, 100, 10_000):
        assert "nested" in refusal(metadata=nested(levels))


def test_a_fingerprint_tells_apart_what_is_sent_and_knows_a_repetition() -> None:
    plain = request().fingerprint(ALICE)
    same = [
        {"message_id": str(uuid4()), "idempotency_key": "k"},
        {"crm_ref": "lead-7"},
        {"metadata": {"a": 1}},
        {"to": " 070330-09600"},
        {"to": "+917033009600", "region": "AE"},
    ]
    for given in same:
        assert request(**given).fingerprint(ALICE) == plain, given
    different = [
        *({"text": text} for text in ("hello", "Hello ", "Bye")),
        *({name: value} for name, value in CONTENTS.items() if name != "text"),
        {"channel": "sales"},
        {"priority": "bulk"},
        {"send_after": NOON.isoformat()},
        {"expires_at": NOON.isoformat()},
        {"on_doubt": "resend"},
        {},
    ]
    prints = [request(**given).fingerprint(ALICE) for given in different]
    prints.append(request().fingerprint("+917033009601"))
    prints += [request(to=to).fingerprint(None) for to in ("call me", "call me not")]
    assert len(set(prints)) == len(prints)
    assert all(len(fingerprint) == 64 for fingerprint in prints)


@pytest.mark.parametrize("text", [" ", "\n\t ", "\u00a0\u2003"])
def test_a_text_of_blanks_is_refused(text: str) -> None:
    assert "text: must not be blank" in refusal(text=text)


FILE = "019aa7b2-7c11-4d5e-8f00-2b6d1c3e4a5f"


@pytest.mark.parametrize("field", ["image_url", "video_url", "document_url", "audio_url", "sticker_url"])
def test_a_file_that_was_handed_over_is_named_in_place_of_an_address(field: str) -> None:
    assert request(**{field: f"media:{FILE}"}).content == {field: f"media:{FILE}"}
    assert request(**{field: f"MEDIA:{FILE.upper()}"}).fingerprint(TO) == request(
        **{field: f"media:{FILE}"}
    ).fingerprint(TO)
    for bad in ("media:", "media:7", f"media:{FILE}/..", f"media: {FILE}"):
        assert field in refusal(**{field: bad})


def test_what_is_quoted_is_a_part_of_the_content_and_tells_two_requests_apart() -> None:
    quoting = request(reply_to=FILE)
    assert quoting.content == {"text": "Hello", "reply_to": FILE}
    assert quoting.kind == "text"
    assert quoting.fingerprint(TO) != request().fingerprint(TO)
    assert "reply_to" in refusal(reply_to="the one before")
