"""The stack's tests run real processes; the slow ones are marked."""

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.stack.processes import Running


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "slow: takes longer than ten seconds")


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Callable[..., Running]]:
    """Starts commands that are gone after the test."""
    with ExitStack() as started:

        def start(*arguments: str, **environment: str) -> Running:
            return started.enter_context(Running(arguments, tmp_path, **environment))

        yield start


@pytest.fixture
def supervising(running: Callable[..., Running]) -> Callable[..., Running]:
    """Starts a supervisor over children given as name=source."""

    def start(**sources: str) -> Running:
        return running("-m", "tests.stack.dummies", json.dumps(sources))

    return start
