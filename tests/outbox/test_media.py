"""Files are kept once, fit what names them, and are posted under the address that WaSender gave them."""

import hashlib
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import delete, event, select

from tests.files import png
from tests.outbox.desk import ALICE, BOB, DEFAULTS, Desk
from worker.domain.errors import InvalidRequest
from worker.domain.message_request import parse_request
from worker.domain.message_status import MessageState
from worker.models import Media, Message
from worker.outbox import contents, media
from worker.outbox.enqueue import Order, enqueue_all
from worker.outbox.events import Source
from worker.outbox.media import StoredFile

URL = "https://wasenderapi.com/media/1.png"
LATER_URL = "https://wasenderapi.com/media/2.png"


def keep(desk: Desk, content: bytes = png(), mime_type: str = "image/png") -> StoredFile:
    stored: StoredFile = desk.write(
        lambda c: media.store(
            c,
            content,
            new_id=uuid4(),
            sha256=hashlib.sha256(content).hexdigest(),
            mime_type=mime_type,
            now=desk.now,
        )
    )
    return stored


def uploaded(desk: Desk, file: UUID, url: str = URL) -> str:
    place: str = desk.write(lambda c: media.learn_public_url(c, file, url, now=desk.now))
    return place


def posted(desk: Desk, content: dict[str, Any], at: Any) -> dict[str, Any] | None:
    known: dict[str, Any] | None = desk.write(
        lambda c: contents.as_posted(c, content, channel_id=1, recipient=ALICE, at=at)
    )
    return known


def test_the_same_bytes_are_kept_once(desk: Desk) -> None:
    first, again, other = keep(desk), keep(desk), keep(desk, png(255))
    assert (first.created, again.created, other.created) == (True, False, True)
    assert first.id == again.id != other.id
    assert desk.read(select(Media.content).where(Media.id == first.id))[0].content == png()


@pytest.mark.parametrize(
    ("field", "mime_type", "size", "code"),
    [
        ("image_url", "image/png", 10, None),
        ("document_url", "image/png", 10, None),
        ("video_url", "image/png", 10, "wrong_media_kind"),
        ("image_url", "application/pdf", 10, "wrong_media_kind"),
        ("sticker_url", "image/webp", 100 * 1024 + 1, "media_too_large"),
        ("image_url", None, 0, "unknown_media"),
    ],
)
def test_a_message_names_a_file_that_fits_its_field(
    desk: Desk, field: str, mime_type: str | None, size: int, code: str | None
) -> None:
    channel_id = desk.channel()
    file = keep(desk, bytes(size), mime_type).id if mime_type else uuid4()
    orders = [
        Order(request=parse_request({"to": to, field: f"media:{file}"}), channel_id=channel_id, message_id=uuid4())
        for to in (ALICE, BOB)
    ]

    def enqueue(*, keep_refused: bool) -> list[Any]:
        became: list[Any] = desk.write(
            lambda c: enqueue_all(
                c, orders, defaults=DEFAULTS, now=desk.now, source=Source.API, keep_refused=keep_refused
            )
        )
        return became

    if code is None:
        assert [one.created for one in enqueue(keep_refused=False)] == [True, True]
        return
    refused = enqueue(keep_refused=False)
    assert all(isinstance(one, InvalidRequest) for one in refused)
    assert [one.code for one in refused] == [code, code]
    assert [one.state for one in enqueue(keep_refused=True)] == [MessageState.FAILED] * 2
    assert {row.error_code for row in desk.read(select(Message.error_code))} == {code}


def test_a_claim_carries_the_address_while_wasender_keeps_the_file(desk: Desk) -> None:
    channel_id, file = desk.channel(), keep(desk).id
    named = f"media:{file}"
    for to in (ALICE, BOB):
        desk.enqueue(channel_id, to, text="Look", image_url=named.upper().replace("MEDIA", "media"))
    uploaded(desk, file)
    desk.wait(20 * 3600 - 1)
    assert desk.leased_claim(channel_id).content == {"text": "Look", "image_url": URL}

    desk.wait(1)
    assert desk.claim_one(channel_id).content == {"text": "Look", "image_url": named}


def test_the_first_address_is_used_by_all_until_it_runs_out(desk: Desk) -> None:
    file = keep(desk).id
    assert uploaded(desk, file, URL) == URL
    assert uploaded(desk, file, LATER_URL) == URL, "one attempt would have posted what nobody knows of later"
    desk.wait(20 * 3600)
    assert uploaded(desk, file, LATER_URL) == LATER_URL


def test_it_is_known_what_an_attempt_posted_until_the_file_is_uploaded_anew(desk: Desk) -> None:
    file = keep(desk).id
    named = {"image_url": f"media:{file}", "text": "Look"}
    assert posted(desk, {"text": "Hello"}, desk.now) == {"text": "Hello"}
    assert posted(desk, named, desk.now) is None

    uploaded(desk, file)
    began = desk.now
    assert posted(desk, named, began) == {"image_url": URL, "text": "Look"}
    assert posted(desk, named, began - timedelta(seconds=1)) is None
    desk.wait(20 * 3600)
    uploaded(desk, file, LATER_URL)
    assert posted(desk, named, began) is None, "another address would prove that WaSender never took the message"
    desk.write(lambda c: c.execute(delete(Media)))
    assert posted(desk, named, began) is None


def test_plain_messages_cost_no_query_about_files_and_quotes(desk: Desk) -> None:
    channel_id = desk.channel()
    asked: list[str] = []
    event.listen(desk.engine, "before_cursor_execute", lambda *given: asked.append(given[2]))
    desk.enqueue(channel_id)
    desk.enqueue(channel_id, BOB, text="Look", image_url="https://files.example/a.png")
    queries = len(asked)
    assert desk.leased_claim(channel_id).content == {"text": "Hello"}
    assert not [query for query in asked if "media" in query or "known_numbers" in query]
    assert queries
