"""Messages and channels through any life: nothing is lost, doubled, taken back, turned round, or left without an end.

And nothing is called sent that WhatsApp never had.
"""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.outbox.desk import Desk
from tests.outbox.life import Life
from worker.parts import build_parts
from worker.settings import read_settings

#: Without these the lives were too tame to prove anything. Rarer things have tests of their own.
MUST_MOVE = {
    ("sending", "accepted"),
    ("sending", "queued"),
    ("sending", "in_doubt"),
    ("accepted", "sent"),
    ("accepted", "queued"),
}
MUST_HAPPEN = {*(f"channel {state}" for state in ("up", "down", "mute")), "probe"}


def play(desk: Desk, patch: pytest.MonkeyPatch, *, lives: int, steps: int) -> type[Life]:
    """Returns the machine, which knows what was seen."""
    given = read_settings(DATABASE_URL="sqlite:///nowhere.db", TRUETICK_MAX_UNACKED=4, _env_file=None)
    parts = replace(build_parts(given), engine=desk.engine, clock=lambda: desk.now)
    members: dict[str, Any] = {"desk": desk, "parts": parts, "patch": patch, "moves": set(), "happened": set()}
    machine: type[Life] = type("LifeAtThisDesk", (Life,), members)
    chosen = settings(
        max_examples=lives,
        stateful_step_count=steps,
        deadline=None,
        derandomize=True,
        report_multiple_bugs=False,
        # To explain a failure would trace every line, which takes several times as long.
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )
    run_state_machine_as_test(machine, settings=chosen)
    return machine


def test_any_life_of_messages_and_channels_on_sqlite(sqlite_desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    machine = play(sqlite_desk, monkeypatch, lives=30, steps=45)
    assert machine.moves >= MUST_MOVE
    assert any(before == "in_doubt" for before, _ in machine.moves)
    assert machine.happened >= MUST_HAPPEN


def test_any_life_of_messages_and_channels_on_postgresql(
    postgres_desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert play(postgres_desk, monkeypatch, lives=3, steps=30).moves
