"""The wheel carries all that a machine without the clone needs."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.stack.processes import ROOT

#: Run in an empty folder, against the unpacked wheel only.
TRY = """
import sys, pathlib
import alembic, celeryconfig, crm_bridge, wasender_sandbox, worker
from worker import migrate, revisions
from worker.demo.contacts import read_contacts
unpacked = pathlib.Path(sys.argv[1])
for module in (celeryconfig, crm_bridge, wasender_sandbox, worker):
    assert unpacked in pathlib.Path(module.__file__).parents, module.__file__
assert unpacked not in pathlib.Path(alembic.__file__).parents, alembic.__file__
assert len(read_contacts()) >= 40
migrate.upgrade("sqlite:///fresh.db")
assert migrate.current("sqlite:///fresh.db") == revisions.head()
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    built = subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(ROOT)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert built.returncode == 0, built.stdout + built.stderr
    return next(folder.glob("*.whl"))


def test_it_carries_migrations_configuration_and_the_demonstration(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    versions = {f"worker/migrations/versions/{path.name}" for path in (ROOT / "alembic" / "versions").glob("*.py")}
    assert versions
    wanted = {
        "worker/migrations/env.py",
        "worker/migrations/script.py.mako",
        "celeryconfig.py",
        "worker/demo/contacts.csv",
        "worker/stack/leash.py",
        *versions,
    }
    assert wanted - names == set()
    assert {name.split("/")[0] for name in names if ".dist-info" not in name} == {
        "worker",
        "crm_bridge",
        "wasender_sandbox",
        "celeryconfig.py",
    }, "no top-level alembic, which would shadow the library, and no tests"


def test_it_works_without_the_clone(wheel: Path, tmp_path: Path) -> None:
    unpacked = tmp_path / "site"
    zipfile.ZipFile(wheel).extractall(unpacked)
    empty = tmp_path / "empty"
    empty.mkdir()
    tried = subprocess.run(
        [sys.executable, "-c", TRY, str(unpacked)],
        cwd=empty,
        env={"PYTHONPATH": str(unpacked)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert tried.returncode == 0, tried.stderr


def test_alembic_is_the_library_in_the_clone_too() -> None:
    found = subprocess.run(
        [sys.executable, "-c", "import alembic.command; alembic.command.upgrade"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert not (ROOT / "alembic" / "__init__.py").exists()
    assert found.returncode == 0, found.stderr
