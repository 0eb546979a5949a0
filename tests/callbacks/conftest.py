"""An office that tells endpoints, on each database in turn, and receivers that behave as a test wants."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from tests.callbacks.office import Office
from tests.callbacks.receiver import Receiver
from tests.celery.conftest import crm, environment
from tests.gateway.conftest import certificate, server_tls
from worker.parts import Parts

__all__ = ["certificate", "crm", "environment", "office", "receiver", "receivers", "server_tls"]


@pytest.fixture
def office(database_url: str, build: Callable[..., Parts]) -> Iterator[Office]:
    office = Office(database_url, build(database_url))
    yield office
    office.close()


@pytest.fixture
def receivers() -> Iterator[Callable[..., Receiver]]:
    """Starts receivers; all of them end with the test."""
    with ExitStack() as stack:

        def start(**options: Any) -> Receiver:
            return stack.enter_context(Receiver(**options))

        yield start


@pytest.fixture
def receiver(receivers: Callable[..., Receiver]) -> Receiver:
    return receivers()
