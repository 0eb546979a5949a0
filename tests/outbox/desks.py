"""Fixtures: a desk on each database in turn. One PostgreSQL database serves all of them, emptied in between."""

from collections.abc import Iterator

import pytest
from sqlalchemy import event, text

from tests.outbox.desk import Desk
from tests.real_servers import Postgres


@pytest.fixture(scope="session")
def kept_postgres_desk(postgres: Postgres) -> Iterator[Desk]:
    with postgres.database() as url:
        desk = Desk(url)
        name = desk.engine.url.database
        # These tests kill no server, so they need not wait for its disk.
        desk.write(lambda c: c.execute(text(f"ALTER DATABASE {name} SET synchronous_commit = off")))
        desk.engine.dispose()
        yield desk
        desk.close()


@pytest.fixture
def postgres_desk(kept_postgres_desk: Desk) -> Desk:
    kept_postgres_desk.clear()
    return kept_postgres_desk


@pytest.fixture
def sqlite_desk(sqlite_url: str) -> Iterator[Desk]:
    desk = Desk(sqlite_url)
    # Nobody pulls the plug on this file, so it need not wait for the disk.
    event.listen(desk.engine, "connect", lambda connection, _: connection.execute("PRAGMA synchronous = OFF"))
    yield desk
    desk.close()


@pytest.fixture(params=["sqlite", "postgresql"])
def desk(request: pytest.FixtureRequest) -> Desk:
    fixture = "sqlite_desk" if request.param == "sqlite" else "postgres_desk"
    desk: Desk = request.getfixturevalue(fixture)
    return desk
