"""Messages with files: uploaded before the POST, once for all of them, and nothing is ever in doubt because of it."""

import hashlib
import time
from collections.abc import Callable
from datetime import timedelta
from uuid import UUID, uuid4

import pytest
from sqlalchemy import delete, update

from tests.drain.scene import Crm, drain, number
from tests.files import png
from wasender_sandbox.control import Sandbox
from worker.database import transaction
from worker.domain.channel_state import ChannelState
from worker.models import Media
from worker.outbox import media
from worker.parts import Parts
from worker.sending import lane, preparing


@pytest.fixture(autouse=True)
def _short_rests(monkeypatch: pytest.MonkeyPatch) -> None:
    """How long a channel rests after trouble is not what this is about."""
    monkeypatch.setattr(lane, "FIRST_BACKOFF_S", 0.02)


def keep(parts: Parts, content: bytes = png(), mime_type: str = "image/png") -> str:
    """Hand a file over. Returns how messages name it."""
    digest = hashlib.sha256(content).hexdigest()
    with transaction(parts.engine) as connection:
        stored = media.store(
            connection, content, new_id=uuid4(), sha256=digest, mime_type=mime_type, now=parts.clock()
        )
    return f"media:{stored.id}"


def counting(sandbox: Sandbox, endpoint: str = "upload") -> Callable[[], int]:
    """How often the sandbox is asked for this from now on."""
    fault = sandbox.fault("delay", endpoint=endpoint, seconds=0)
    return lambda: next(int(armed["hits"]) for armed in sandbox.state()["faults"] if armed["id"] == fault)


def addresses(sandbox: Sandbox) -> list[str]:
    return [entry.payload["imageUrl"] for entry in sandbox.ledger()]


def test_a_file_is_uploaded_once_and_all_its_messages_carry_the_address(
    crm: Crm, parts: Parts, sandbox: Sandbox
) -> None:
    crm.channels("sales", "service")
    uploads = counting(sandbox)
    file = keep(parts)
    for channel in ("default", "sales", "service"):
        crm.enqueue(["one", "two"], channel=channel, image_url=file)

    drain(parts)

    assert crm.states() == ["accepted"] * 6
    assert uploads() == 1
    assert len({*addresses(sandbox)}) == 1
    assert addresses(sandbox)[0].startswith(f"{sandbox.base_url}/media/")
    assert {entry.kind for entry in sandbox.ledger()} == {"image"}


def test_a_file_that_wasender_no_longer_has_is_uploaded_anew(crm: Crm, parts: Parts, sandbox: Sandbox) -> None:
    file = keep(parts)
    crm.enqueue(["one"], image_url=file)
    drain(parts)
    with transaction(parts.engine) as connection:
        connection.execute(update(Media).values(public_until=parts.clock() - timedelta(seconds=1)))
    crm.enqueue(["two"], image_url=file)
    drain(parts)

    first, second = addresses(sandbox)
    assert first != second


def test_a_file_that_wasender_refuses_fails_its_message_alone(crm: Crm, parts: Parts, sandbox: Sandbox) -> None:
    crm.enqueue(["bad"], image_url=keep(parts, b"not a picture"))
    crm.enqueue(["good"], to=lambda _: number(1))

    drain(parts)

    assert crm.states() == ["failed", "accepted"]
    failed, [attempt, _] = crm.messages()[0], crm.attempts()
    assert failed.error_code == "media_refused"
    assert (attempt.started_at, attempt.http_status) == (None, 422)
    assert "does not match" in attempt.detail
    assert len(sandbox.requests()) == 1
    assert crm.channel().state is ChannelState.UP


@pytest.mark.parametrize(
    ("kind", "status"), [("error", 500), ("html", 520), ("hang", None), ("reset", None), ("empty", 200)]
)
def test_trouble_with_an_upload_holds_a_message_up_and_leaves_no_doubt(
    crm: Crm,
    build: Callable[..., Parts],
    database_url: str,
    sandbox: Sandbox,
    kind: str,
    status: int | None,
) -> None:
    parts = build(database_url, TRUETICK_READ_TIMEOUT_S=0.3)
    sandbox.fault(kind, endpoint="upload", count=1, status=status)
    crm.enqueue(["one"], to=lambda _: number(1), image_url=keep(parts))
    crm.enqueue(["two"], to=lambda _: number(1))

    drain(parts)

    assert crm.texts() == ["one", "two"]
    assert crm.states() == ["accepted", "accepted"]
    assert [row.reason for row in crm.events(1)] == ["", "", "media_not_uploaded", "", "accepted"]
    assert [row.attempts for row in crm.messages()] == [1, 1]
    assert len(sandbox.requests()) == 2
    assert crm.channel().failures == 0


def test_an_upload_that_the_session_cannot_take_is_held_against_its_status(
    crm: Crm, parts: Parts, sandbox: Sandbox
) -> None:
    refusal = '{"success":false,"message":"Your Whatsapp Session is not connected"}'
    sandbox.fault("answer", endpoint="upload", body=refusal)
    sandbox.set_status("default", "logged_out")
    crm.enqueue(["one"], image_url=keep(parts))

    drain(parts)

    assert (crm.channel().state, crm.channel().reason) == (ChannelState.DOWN, "logged_out")
    assert crm.states() == ["queued"]
    assert sandbox.requests() == []


def test_a_file_that_can_never_be_uploaded_does_not_hold_up_its_channel_for_ever(
    crm: Crm, parts: Parts, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(preparing, "MOST_UPLOADS", 2)
    sandbox.fault("error", endpoint="upload", status=500)
    uploads = counting(sandbox)
    crm.enqueue(["bad"], image_url=keep(parts))
    crm.enqueue(["good"], to=lambda _: number(1))

    drain(parts)

    assert uploads() == 2
    assert crm.states() == ["failed", "accepted"]
    assert crm.messages()[0].error_code == "media_refused"


def test_a_file_that_is_gone_fails_its_message(crm: Crm, parts: Parts, sandbox: Sandbox) -> None:
    crm.enqueue(["one"], image_url=keep(parts))
    with transaction(parts.engine) as connection:
        connection.execute(delete(Media))

    drain(parts)

    assert [row.error_code for row in crm.messages()] == ["media_gone"]
    assert sandbox.requests() == []


def test_a_channels_slot_is_kept_while_a_file_is_uploaded(crm: Crm, parts: Parts, sandbox: Sandbox) -> None:
    """The pace counts from the POST, not from the upload before it."""
    crm.channels("slow", pace="2/1")
    sandbox.fault("delay", endpoint="upload", seconds=0.4)
    crm.enqueue(["one"], channel="slow", image_url=keep(parts))
    crm.enqueue(["two"], to=lambda _: number(1), channel="slow")
    began = time.monotonic()

    drain(parts)

    first, second = [request.arrived_at for request in sandbox.requests(channel="slow")]
    assert crm.texts(channel="slow") == ["one", "two"]
    assert second - first >= 0.5
    assert time.monotonic() - began < 5


def test_an_upload_that_outlasts_the_lease_is_not_made_again(
    crm: Crm, build: Callable[..., Parts], database_url: str, sandbox: Sandbox
) -> None:
    """Too late for its slot, the message goes back to the front, and finds the file's address when it comes again."""
    parts = build(database_url, TRUETICK_LEASE_S=1)
    uploads = counting(sandbox)
    sandbox.fault("delay", endpoint="upload", seconds=1.5)
    crm.enqueue(["one"], image_url=keep(parts))
    crm.enqueue(["two"], to=lambda _: number(1))

    drain(parts)

    assert crm.texts() == ["one", "two"]
    assert crm.states() == ["accepted", "accepted"]
    assert uploads() == 1


def test_no_file_is_named_by_what_only_we_can_read(crm: Crm, parts: Parts, sandbox: Sandbox) -> None:
    crm.enqueue(["one"], image_url=keep(parts), to=lambda _: "120363041234567890@g.us")
    drain(parts)
    [entry] = sandbox.ledger()
    assert "media:" not in str(entry.payload)
    assert UUID(entry.payload["imageUrl"].rpartition("/")[2].removesuffix(".png"))
