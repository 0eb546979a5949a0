"""Weekly maintenance forgets what nobody needs any more, and nothing else."""

import dataclasses
import hashlib
from datetime import timedelta
from uuid import UUID, uuid4

import pytest
from sqlalchemy import select

from tests.drain.scene import Crm, number
from tests.files import png
from worker import maintenance
from worker.database import transaction
from worker.maintenance import Forgotten, maintain
from worker.models import KnownNumber, Media
from worker.outbox import known_numbers, media
from worker.parts import Parts

DAY = timedelta(days=1)


def keep(parts: Parts, shade: int) -> UUID:
    content = png(shade)
    digest = hashlib.sha256(content).hexdigest()
    with transaction(parts.engine) as connection:
        return media.store(
            connection, content, new_id=uuid4(), sha256=digest, mime_type="image/png", now=parts.clock()
        ).id


def later(parts: Parts, days: float) -> Parts:
    """The same process, some days later."""
    return dataclasses.replace(parts, clock=lambda: parts.clock() + days * DAY)


def files(crm: Crm) -> set[UUID]:
    return {row.id for row in crm.read(select(Media.id))}


@pytest.mark.parametrize("state", ["queued", "sending", "accepted", "in_doubt"])
def test_a_file_goes_thirty_days_after_it_was_handed_over_unless_a_message_may_need_it(
    crm: Crm, parts: Parts, state: str
) -> None:
    unused, used, waiting, looked_at = (keep(parts, shade) for shade in (1, 2, 3, 4))
    for index, file in enumerate((used, waiting, looked_at)):
        reference = f"media:{file}" if index else f"media:{str(file).upper()}"
        crm.enqueue(["with a picture"], to=lambda _, index=index: number(index), image_url=reference)
    seqs = [row.seq for row in crm.messages()]
    crm.set_message(seqs[0], state="delivered")
    crm.set_message(seqs[1], state=state)
    crm.set_message(seqs[2], state="accepted", attention="no_tick")

    assert maintain(later(parts, 29)).files == 0
    assert maintain(later(parts, 31)) == Forgotten(files=2, numbers=0, callbacks=0)

    assert files(crm) == {waiting, looked_at}
    assert unused not in files(crm)
    assert maintain(later(parts, 31)).files == 0, "a second run finds nothing"


def test_a_file_that_is_handed_over_again_begins_anew(crm: Crm, parts: Parts) -> None:
    file = keep(parts, 1)
    assert keep(later(parts, 29), 1) == file
    assert maintain(later(parts, 31)).files == 0
    assert maintain(later(parts, 60)).files == 1
    assert files(crm) == set()


def test_more_than_one_batch_goes_and_what_is_needed_stops_nothing(
    crm: Crm, parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(media.forget_unused, "__kwdefaults__", {"after": None, "most": 2})
    kept = [keep(parts, shade) for shade in range(7)]
    for index, file in enumerate(kept[:3]):
        crm.enqueue(["needed"], to=lambda _, index=index: number(index), image_url=f"media:{file}")

    assert maintain(later(parts, 31)).files == 4
    assert files(crm) == set(kept[:3])


def test_what_was_said_of_numbers_is_kept_as_long_as_it_is_believed(crm: Crm, parts: Parts) -> None:
    with transaction(parts.engine) as connection:
        for index, age in enumerate((0, 6, 8, 30)):
            known_numbers.learn(connection, number(index), True, at=parts.clock() - age * DAY)

    assert maintain(parts).numbers == 2
    assert {row.recipient for row in crm.read(select(KnownNumber.recipient))} == {number(0), number(1)}


def test_a_process_that_is_asked_to_stop_leaves_the_rest_to_the_next_week(crm: Crm, parts: Parts) -> None:
    keep(parts, 1)
    parts.stopping.set()
    assert maintenance.maintain(later(parts, 31)) == Forgotten(files=0, numbers=0, callbacks=0)
    assert len(files(crm)) == 1
