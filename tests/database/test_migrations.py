"""Migrations: they make what the models say, go down and up again, and never hang behind somebody else's lock."""

import multiprocessing
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine, inspect, text
from sqlalchemy.exc import OperationalError

from tests.real_servers import Postgres, wait_until
from worker import migrate, revisions
from worker.models import VERSION_TABLE

TABLES = {"channels", "messages", "attempts", "events"}


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'a folder' / 'empty.db'}"
    else:
        postgres: Postgres = request.getfixturevalue("postgres")
        with postgres.database(migrated=False) as url:
            yield url


def tables(url: str) -> set[str]:
    engine = create_engine(url)
    try:
        return set(inspect(engine).get_table_names())
    finally:
        engine.dispose()


def test_the_migrations_make_what_the_models_say_down_and_up_again(empty_url: str) -> None:
    assert migrate.current(empty_url) is None
    migrate.upgrade(empty_url)
    assert migrate.current(empty_url) == revisions.head()
    assert tables(empty_url) >= TABLES
    assert migrate.differences(empty_url) == []
    migrate.downgrade(empty_url, "base")
    assert tables(empty_url) == {VERSION_TABLE}
    assert migrate.current(empty_url) is None
    assert migrate.differences(empty_url) != []
    migrate.upgrade(empty_url)
    migrate.upgrade(empty_url)
    assert migrate.differences(empty_url) == []


def test_the_files_are_named_as_alembic_knows_them() -> None:
    known = ScriptDirectory.from_config(migrate._config())
    assert revisions.known() == [script.revision for script in known.walk_revisions()][::-1]
    assert revisions.head() == known.get_current_head()


def test_two_processes_that_migrate_at_once_do_no_harm(empty_url: str) -> None:
    spawning = multiprocessing.get_context("spawn")
    processes = [spawning.Process(target=migrate.upgrade, args=(empty_url,)) for _ in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0]
    assert migrate.differences(empty_url) == []


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Migrations that give a lock up after a fifth of a second, so that the test need not wait for ten."""
    place = revisions.place()
    copy = tmp_path / "alembic"
    copy.mkdir()
    (copy / "versions").symlink_to(place / "versions")
    written = (place / "env.py").read_text()
    assert 'LOCK_TIMEOUT = "10s"' in written
    (copy / "env.py").write_text(written.replace('LOCK_TIMEOUT = "10s"', 'LOCK_TIMEOUT = "200ms"'))
    monkeypatch.setattr(revisions, "_PLACES", (copy,))


def test_a_migration_gives_up_behind_a_locked_table_and_changes_nothing(postgres_url: str, impatient: None) -> None:
    engine = create_engine(postgres_url)
    with engine.connect() as reader:
        reader.execute(text("LOCK TABLE messages IN ACCESS SHARE MODE"))
        with pytest.raises(OperationalError, match="lock timeout"):
            migrate.downgrade(postgres_url, "base")
    engine.dispose()
    assert migrate.current(postgres_url) == revisions.head()
    assert migrate.differences(postgres_url) == []
    migrate.downgrade(postgres_url, "base")


def test_a_migration_waits_for_another_one_however_long_that_takes(postgres: Postgres, impatient: None) -> None:
    with postgres.database(migrated=False) as url, ThreadPoolExecutor(1) as pool:
        engine = create_engine(url)
        waits = text("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted")
        with engine.begin() as other:
            other.execute(text("SELECT pg_advisory_xact_lock(7207033009)"))
            migration = pool.submit(migrate.upgrade, url)
            wait_until(lambda: other.execute(waits).scalar_one() or migration.done(), within_s=20, what="the wait")
            other.execute(text("SELECT pg_sleep(0.5)"))  # longer than a table's lock is waited for
            assert not migration.done()
        migration.result(20)
        engine.dispose()
        assert migrate.current(url) == revisions.head()


def test_a_crm_with_migrations_of_its_own_can_share_the_database(empty_url: str) -> None:
    engine = create_engine(empty_url)
    Path(engine.url.database or "").parent.mkdir(parents=True, exist_ok=True)
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE alembic_version (version_num VARCHAR(32) PRIMARY KEY)"))
        connection.execute(text("INSERT INTO alembic_version VALUES ('0002')"))

    migrate.upgrade(empty_url)

    with engine.begin() as connection:
        assert connection.execute(text("SELECT version_num FROM alembic_version")).scalars().all() == ["0002"]
    engine.dispose()
    assert migrate.current(empty_url) == revisions.head()


def test_a_database_whose_version_stands_under_the_former_name_goes_on_from_there(empty_url: str) -> None:
    migrate.upgrade(empty_url, "0002")
    engine = create_engine(empty_url)
    with engine.begin() as connection:
        connection.execute(text(f"ALTER TABLE {VERSION_TABLE} RENAME TO alembic_version"))
    engine.dispose()

    migrate.upgrade(empty_url)

    assert migrate.current(empty_url) == revisions.head()
    assert "alembic_version" not in tables(empty_url)
