"""What every test may ask for: real servers, a migrated database of each kind, the sandbox, parts to run stories."""

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.real_servers import Postgres, Valkey, running_postgres, running_valkey
from wasender_sandbox.control import Sandbox
from wasender_sandbox.process import SandboxProcess
from worker import migrate
from worker.parts import Parts, build_parts
from worker.settings import Settings, read_settings

API_KEY = "5a" * 32
SECRET_KEY = "c2VjcmV0LWtleS1vZi0zMi1ieXRlcy1mb3ItdGVzdHM="


@pytest.fixture(autouse=True, scope="session")
def _no_settings_from_outside() -> None:
    """The machine's own environment must not reach the tests."""
    for name in list(os.environ):
        if name.startswith(("TRUETICK_", "WASENDER_")) or name in {"DATABASE_URL", "CELERY_BROKER_URL"}:
            del os.environ[name]


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    with running_postgres() as server:
        server.hurry()
        yield server


@pytest.fixture
def postgres_url(postgres: Postgres) -> Iterator[str]:
    with postgres.database() as url:
        yield url


@pytest.fixture(scope="session")
def _migrated_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("sqlite") / "template.db"
    migrate.upgrade(f"sqlite:///{path}")
    return path


@pytest.fixture
def sqlite_url(_migrated_sqlite: Path, tmp_path: Path) -> str:
    path = tmp_path / "truetick.db"
    shutil.copy(_migrated_sqlite, path)
    return f"sqlite:///{path}"


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest) -> str:
    """Whatever works on one database works on the other."""
    fixture = "sqlite_url" if request.param == "sqlite" else "postgres_url"
    url: str = request.getfixturevalue(fixture)
    return url


@pytest.fixture
def broker() -> Iterator[Valkey]:
    with running_valkey() as valkey:
        yield valkey


@pytest.fixture(scope="session")
def _sandbox_process() -> Iterator[SandboxProcess]:
    with SandboxProcess() as process:
        yield process


@pytest.fixture
def sandbox(_sandbox_process: SandboxProcess) -> Sandbox:
    """A sandbox WaSender without channels, faults or memory."""
    _sandbox_process.control.reset()
    return _sandbox_process.control


@pytest.fixture
def settings_for(tmp_path: Path, sandbox: Sandbox) -> Callable[..., Settings]:
    """Settings for a database at the sandbox; more by the names of the environment variables."""

    def build(url: str, **overrides: object) -> Settings:
        given = {
            "DATABASE_URL": url,
            "TRUETICK_VAR_DIR": tmp_path / "var",
            "WASENDER_BASE_URL": sandbox.api_url,
            "WASENDER_API_KEY": API_KEY,
            "TRUETICK_PACE": "200/1",
            "TRUETICK_SECRET_KEY": SECRET_KEY,
            "TRUETICK_CONNECT_TIMEOUT_S": 2,
            "TRUETICK_READ_TIMEOUT_S": 2,
        }
        return read_settings(**(given | overrides), _env_file=None)

    return build


@pytest.fixture
def build(settings_for: Callable[..., Settings]) -> Iterator[Callable[..., Parts]]:
    """Builds parts for a database; what it built is closed at the end."""
    built: list[Parts] = []

    def make(url: str, **overrides: object) -> Parts:
        built.append(build_parts(settings_for(url, **overrides)))
        return built[-1]

    yield make
    for parts in built:
        parts.gateway.close()
        parts.engine.dispose()


@pytest.fixture
def parts(database_url: str, build: Callable[..., Parts], sandbox: Sandbox) -> Parts:
    """Parts of one process, on each database in turn, with the default channel known to the sandbox."""
    sandbox.create_channel("default", api_key=API_KEY, limit="none")
    return build(database_url)
