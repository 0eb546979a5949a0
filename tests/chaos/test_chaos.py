"""A short run of the chaos on each setup: the same plan, mischief and judge as `make chaos`, only less of it."""

from pathlib import Path

import pytest

from tests.chaos.place import SETUPS, Setup
from tests.chaos.run import Size, run

SHORT = {
    "TRUETICK_ACK_TIMEOUT_S": "3",
    "TRUETICK_SETTLE_S": "1",
    "TRUETICK_READ_TIMEOUT_S": "1",
}
#: What a short run can hold; each setup gets its own draw of the same kinds.
KINDS = (
    "worker_killed",
    "broker_flushed",
    "database_away",
    "gateway_down",
    "breaks_after",
    "mute_then_stuck",
    "session_flaps",
    "webhooks_hostile",
)


@pytest.mark.parametrize("setup", SETUPS, ids=lambda setup: setup.database)
def test_whatever_breaks_nothing_is_lost_doubled_reordered_or_called_sent_without_a_tick(
    setup: Setup, tmp_path: Path
) -> None:
    size = Size(
        messages=300,
        faults=len(KINDS),
        span_s=12,
        channels=4,
        recipients=60,
        kinds=KINDS,
        longest_s=6,
        rest_s=20,
        with_logs=False,
    )

    outcome = run(setup, size, seed=5, folder=tmp_path, settings=SHORT)

    told = "\n".join(f"{violation.broken}: {violation.what}" for violation in outcome.verdict.violations)
    assert outcome.verdict.kept, f"{told}\nafter these faults:\n" + "\n".join(map(str, outcome.strikes))
    everywhere = outcome.verdict.messages + outcome.verdict.lost_by_broker + outcome.verdict.in_broker
    assert everywhere == size.messages
    assert outcome.verdict.sent > size.messages / 2
    assert outcome.evidence.mutes
    assert outcome.evidence.hostile_answers
