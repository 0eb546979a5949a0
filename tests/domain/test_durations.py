"""Durations as people write them."""

from datetime import timedelta

import pytest

from worker.domain.durations import parse_duration
from worker.domain.errors import InvalidRequest


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("90s", timedelta(seconds=90)),
        ("30m", timedelta(minutes=30)),
        ("24h", timedelta(days=1)),
        (" 90 D ", timedelta(days=90)),
        ("2w", timedelta(weeks=2)),
        ("0s", timedelta(0)),
    ],
)
def test_a_number_and_a_unit_are_understood(written: str, meant: timedelta) -> None:
    assert parse_duration(written) == meant


@pytest.mark.parametrize("written", ["", "24", "h", "-1h", "1.5h", "1y", "1h30m", "٣h", "99999999999d", "3651d"])
def test_anything_else_is_refused_with_an_example(written: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        parse_duration(written)

    assert refused.value.code == "bad_duration"
