"""The command line as an operator uses it: a process, its exit code, its two outputs."""

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.cli import process
from tests.conftest import SECRET_KEY

#: An address at which no broker is: the commands have to do without.
NO_BROKER = "redis://127.0.0.1:9/0"


@dataclass(frozen=True)
class Said:
    """What a command answered."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@pytest.fixture
def truetick(tmp_path: Path) -> Callable[..., Said]:
    """Runs `truetick …` on this test's own folder; more environment by name."""

    def run(*arguments: str, stdin: str = "", columns: int = 80, **environment: str) -> Said:
        files = (tmp_path / "stdin", tmp_path / "stdout", tmp_path / "stderr")
        files[0].write_text(stdin)
        given = {
            "PATH": os.environ["PATH"],
            "TRUETICK_VAR_DIR": str(tmp_path / "var"),
            "TRUETICK_SECRET_KEY": SECRET_KEY,
            "CELERY_BROKER_URL": NO_BROKER,
            "COLUMNS": str(columns),
        }
        code = process.run(list(arguments), given | environment, files, timeout_s=60)
        said = Said(code, files[1].read_text(), files[2].read_text())
        assert "Traceback" not in said.err, said.err
        return said

    return run


@pytest.fixture
def on(sqlite_url: str, truetick: Callable[..., Said]) -> Callable[..., Said]:
    """The same, on a migrated database."""

    def run(*arguments: str, **options: Any) -> Said:
        return truetick(*arguments, **({"DATABASE_URL": sqlite_url} | options))

    return run
