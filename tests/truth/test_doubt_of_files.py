"""Messages in doubt that carry a file or a quote: the log shows them under WaSender's names for both."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import update

from tests.drain.scene import number
from tests.drain.test_files import keep
from tests.truth.conftest import TOKEN
from tests.truth.stage import Stage
from worker.database import transaction
from worker.models import Media


@pytest.fixture
def options() -> dict[str, object]:
    return {"WASENDER_PERSONAL_ACCESS_TOKEN": TOKEN}


def a_picture(stage: Stage) -> dict[str, Any]:
    return {"image_url": keep(stage.parts)}


def a_reply(stage: Stage) -> dict[str, Any]:
    first = str(uuid4())
    stage.crm.enqueue(["the quoted one"], to=lambda _: number(1), message_id=first)
    stage.send()
    stage.live(20, until=lambda: stage.crm.states()[-1] == "delivered")
    return {"reply_to": first}


def in_doubt(stage: Stage, when: str, **content: Any) -> None:
    """A message has arrived, whose id shows that the log is this session's; the answer about the next one is lost."""
    stage.crm.enqueue(["an earlier one"], to=lambda _: number(9))
    stage.send()
    stage.live(20, until=lambda: set(stage.crm.states()) == {"delivered"})
    stage.sandbox.fault("reset", when=when, count=1)
    stage.crm.enqueue(["unlucky"], to=lambda _: number(1), **content)
    stage.send()
    assert stage.crm.states()[-1] == "in_doubt"


@pytest.mark.parametrize("content", [a_picture, a_reply])
@pytest.mark.parametrize("when", ["before", "after"])
def test_the_log_settles_whether_it_went_out(
    stage: Stage, when: str, content: Callable[[Stage], dict[str, Any]]
) -> None:
    in_doubt(stage, when, **content(stage))

    stage.live(600, step_s=20, until=lambda: stage.crm.states()[-1] == "delivered")

    assert len(stage.sandbox.ledger(text="unlucky")) == 1
    assert "logs" in {row.source for row in stage.crm.events(stage.crm.messages()[-1].seq)}


def test_once_the_file_has_another_address_the_log_proves_nothing(stage: Stage) -> None:
    in_doubt(stage, "after", text=None, **a_picture(stage))
    with transaction(stage.parts.engine) as connection:
        anew = stage.parts.clock() + timedelta(hours=20)
        connection.execute(update(Media).values(public_url="https://files.example/anew.png", public_until=anew))

    stage.live(1500, step_s=60, until=lambda: stage.crm.messages()[-1].attention == "in_doubt")

    assert [entry.kind for entry in stage.sandbox.ledger()] == ["text", "image"], "it was sent twice"
