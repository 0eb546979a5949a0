"""The demonstration's board fits the terminal that it is shown on, from 24 lines of 80 columns upwards."""

from dataclasses import replace
from datetime import UTC, datetime
from uuid import uuid4

import pytest
from rich.console import Console

from worker.demo.board import Board
from worker.demo.contacts import Contact, read_contacts, unique
from worker.demo.scene import Scene
from worker.domain.channel_state import ChannelState, remedy
from worker.domain.message_status import MessageState
from worker.domain.pace import Pace, Pacing
from worker.domain.pending_reason import ChannelView, Standing, pending_reason
from worker.outbox.reading import MessageView

NOW = datetime(2026, 11, 22, tzinfo=UTC)
DOWN = ChannelView(
    name="default",
    state=ChannelState.DOWN,
    reason="need_scan",
    next_slot_at=None,
    failures=0,
    pacing=Pacing(pace=Pace(2, 1)),
)
CONTACTS = unique(read_contacts())


def _message(seq: int, contact: Contact, state: MessageState) -> MessageView:
    empty = dict.fromkeys(MessageView.__dataclass_fields__)
    known = {
        "seq": seq,
        "id": uuid4(),
        "state": state,
        "to": contact.phone,
        "recipient": "+919876500001",
        "crm_ref": contact.ref,
        "due_at": NOW,
        "created_at": NOW,
        "channel": DOWN,
        "pending": pending_reason(Standing(id="x", state=state, due_at=NOW), DOWN, NOW),
    }
    return MessageView(**(empty | known))  # type: ignore[arg-type]


def _scene(delivered: int) -> Scene:
    """The first so many messages are delivered, the others wait."""
    states = [MessageState.DELIVERED] * delivered + [MessageState.QUEUED] * (len(CONTACTS) - delivered)
    pairs = enumerate(zip(CONTACTS.values(), states, strict=True))
    return Scene(
        messages={contact.ref: _message(seq, contact, state) for seq, (contact, state) in pairs},
        channel=ChannelState.DOWN,
        channel_reason="need_scan",
        advice=remedy(ChannelState.DOWN, "need_scan", "default"),
    )


def _drawn(scene: Scene, *, width: int, height: int) -> list[str]:
    """The lines of one live picture."""
    console = Console(width=width, height=height, force_terminal=True, color_system=None, legacy_windows=False)
    with console.capture() as captured:
        board = Board(console, CONTACTS)
        console.print(board._draw(scene))
    return captured.get().splitlines()


@pytest.mark.parametrize(("width", "height"), [(80, 24), (120, 40), (200, 60)])
@pytest.mark.parametrize("delivered", [0, 20, 44])
def test_it_fits(width: int, height: int, delivered: int) -> None:
    lines = _drawn(_scene(delivered), width=width, height=height)
    assert len(lines) < height
    assert any("down (need_scan)" in line for line in lines)
    assert any("Scan the QR code" in line for line in lines)
    assert any(f"{44 - delivered} pending" in line and f"{delivered} delivered" in line for line in lines)


def test_it_follows_the_first_message_that_waits() -> None:
    lines = _drawn(_scene(30), width=120, height=24)
    assert any("pending" in line and "channel_down" in line for line in lines if line.startswith("A-1"))
    assert any("A-1031" in line for line in lines)


def test_before_there_is_anything_it_begins_at_the_top() -> None:
    empty = replace(_scene(0), messages={}, channel=None)
    assert any("A-1001" in line for line in _drawn(empty, width=80, height=24))
