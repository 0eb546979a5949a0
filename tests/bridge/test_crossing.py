"""Two batches with the same keys in opposite order: each waits for the other, and neither may lose by it."""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from uuid import uuid4

import pytest
from sqlalchemy import func, select, text

from crm_bridge.web import create_app
from tests.bridge.conftest import AUTHORIZED, keyed
from tests.real_servers import wait_until
from worker import intake
from worker.channels import registry
from worker.database import snapshot, transaction
from worker.domain.message_request import parse_request
from worker.importing.plan import Plan, Wanted
from worker.importing.refused import RefusedRows
from worker.importing.run import Import
from worker.models import Message
from worker.outbox.events import Source
from worker.parts import Parts
from worker.table_file import TableFile

PEOPLE = [f"+9170330{number:05d}" for number in range(3)]
_WAITING = text("SELECT count(*) FROM pg_locks WHERE NOT granted")


@pytest.fixture
def postgres_parts(postgres_url: str, build: Callable[..., Parts]) -> Parts:
    """With its channel, so that nobody waits for that. SQLite has one writer, so nobody crosses another's way."""
    parts = keyed(build(postgres_url))
    with transaction(parts.engine) as connection:
        registry.ensure_default(connection, parts.settings.pace, parts.clock())
    return parts


@contextlib.contextmanager
def held_up(parts: Parts, key: str) -> Iterator[None]:
    """Nobody gets past this key until two wait for it; then it is free, and they get into each other's way."""
    with parts.engine.connect() as connection:
        request = parse_request({"to": PEOPLE[1], "text": "Hello", "idempotency_key": key})
        intake.send_requests(parts, connection, [(request, uuid4())], now=parts.clock(), source=Source.API)
        yield
        wait_until(lambda: how_many_wait(parts) == 2, within_s=20, what="both batches at the key")
        connection.rollback()


def how_many_wait(parts: Parts) -> int:
    with snapshot(parts.engine) as connection:
        return int(connection.execute(_WAITING).scalar_one())


def stored(parts: Parts) -> int:
    with snapshot(parts.engine) as connection:
        return int(connection.execute(select(func.count()).select_from(Message)).scalar_one())


def post(parts: Parts, items: Sequence[object]) -> list[str]:
    """The ids that a bulk is answered with."""
    answer = create_app(parts).test_client().post("/api/messages/bulk", json={"messages": items}, headers=AUTHORIZED)
    return [one["id"] for one in answer.json["messages"]]


def test_two_bulks_whose_keys_cross_are_both_answered_with_their_messages(postgres_parts: Parts) -> None:
    items = [{"to": to, "text": "Hello", "idempotency_key": f"k{place}"} for place, to in enumerate(PEOPLE)]

    with ThreadPoolExecutor(2) as pool:
        with held_up(postgres_parts, "k1"):
            posted = [pool.submit(post, postgres_parts, order) for order in (items, items[::-1])]
        one, other = (future.result(timeout=30) for future in posted)

    assert one == other[::-1]
    assert stored(postgres_parts) == len(items)


def test_an_import_whose_keys_cross_a_bulks_comes_to_its_end(postgres_parts: Parts, tmp_path: Path) -> None:
    keys = [f"import:r:{row}" for row in range(1, len(PEOPLE) + 1)]
    items = [{"to": to, "text": "Hello", "idempotency_key": key} for to, key in zip(PEOPLE, keys, strict=True)]
    path = tmp_path / "people.csv"
    path.write_text("\n".join(["phone", *PEOPLE]))

    def take() -> int:
        table = TableFile.examine(path)
        plan = Plan.of(table, Wanted(text_template="Hello", run_name="r"))
        with RefusedRows(table, None) as refused:
            one = Import(postgres_parts, table, plan, refused, dry_run=False)
            one.run(advance=lambda _: None, wake=lambda: None)
        return one.result.taken + one.result.taken_before

    with ThreadPoolExecutor(2) as pool:
        with held_up(postgres_parts, keys[1]):
            taking, posting = pool.submit(take), pool.submit(post, postgres_parts, items[::-1])
        assert taking.result(timeout=30) == len(PEOPLE)
        assert len(posting.result(timeout=30)) == len(PEOPLE)

    assert stored(postgres_parts) == len(PEOPLE)
