"""What a fresh clone relies on: the Makefile, the locks, the example settings, and no trace of anybody's machine."""

import os
import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest

from tests.stack.processes import ROOT
from worker.settings import Settings

LOCKS = ("requirements.lock", "requirements-dev.lock")
#: What a registry, a mirror or a machine would leave behind.
TRACES = re.compile(r"(?:index-url|extra-index|find-links|trusted-host|/simple/|/root/|/home/\w+/|file:///\w)")
TEXT = {".py", ".toml", ".lock", ".md", ".yml", ".yaml", ".csv", ".example", ".cfg", ".ini", ".mako", ".txt", ".json"}


def _committed_files() -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if listed.returncode:
        pytest.skip("this is not a clone")
    return [ROOT / name for name in listed.stdout.splitlines() if (ROOT / name).is_file()]


def test_no_committed_file_names_a_registry_or_a_machine() -> None:
    own = {Path(__file__).resolve(), ROOT / "Makefile"}
    found = [
        f"{path.relative_to(ROOT)}: {match[0]}"
        for path in _committed_files()
        if path.suffix in TEXT and path not in own
        if (match := TRACES.search(path.read_text(encoding="utf-8", errors="replace")))
    ]
    assert found == []


@pytest.mark.parametrize("lock", LOCKS)
def test_every_locked_package_is_pinned_and_hashed(lock: str) -> None:
    text = (ROOT / lock).read_text().replace("\\\n", " ")
    lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    assert lines
    for line in lines:
        assert re.match(r"[\w.-]+==\S+ ", line), line
        assert "--hash=sha256:" in line, line
        assert "://" not in line, line


def test_the_locks_hold_what_pyproject_asks_for() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    runtime, both = _locked("requirements.lock"), _locked(*LOCKS)
    assert [name for name in _names(project["project"]["dependencies"]) if name not in runtime] == []
    assert [name for name in _names(project["build-system"]["requires"]) if name not in runtime] == []
    assert [name for name in _names(project["dependency-groups"]["dev"]) if name not in both] == []


def test_both_locks_agree_on_every_version() -> None:
    runtime, dev = (_locked(lock) for lock in LOCKS)
    assert {
        name: (runtime[name], dev[name]) for name in runtime.keys() & dev.keys() if runtime[name] != dev[name]
    } == {}


def test_the_example_names_every_setting_and_no_other() -> None:
    example = set(re.findall(r"^#?([A-Z][A-Z0-9_]+)=", (ROOT / ".env.example").read_text(), re.MULTILINE))
    settings = {str(field.validation_alias) for field in Settings.model_fields.values()}
    assert example == settings


def test_the_example_changes_nothing_as_it_stands(tmp_path: Path) -> None:
    example = tmp_path / ".env"
    shutil.copy(ROOT / ".env.example", example)
    assert Settings(_env_file=example) == Settings(_env_file=None)


@pytest.mark.parametrize("target", ["help", "demo", "up", "test", "check", "bench", "lock", "wheel", "clean"])
def test_every_target_of_the_makefile_can_be_planned(target: str, tmp_path: Path) -> None:
    """In a tree without an environment, the plan of what needs one begins with making it."""
    for name in ("Makefile", "pyproject.toml", *LOCKS):
        shutil.copy(ROOT / name, tmp_path)
    planned = _make(tmp_path, "--dry-run", target)
    assert planned.returncode == 0, planned.stderr
    assert ("-m venv .venv" in planned.stdout) is (target not in {"help", "clean"})
    installs = [line for line in planned.stdout.splitlines() if "--require-hashes" in line]
    assert all("--no-deps" in line for line in installs), "what is not locked must not be looked for"


def test_help_is_the_default_and_tells_of_every_target() -> None:
    said = _make(ROOT).stdout
    targets = re.findall(r"^([a-z]+):.*##", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert [line.split()[1] for line in said.splitlines()] == targets


def test_a_python_that_is_too_old_is_refused_in_one_sentence(tmp_path: Path) -> None:
    shutil.copy(ROOT / "Makefile", tmp_path)
    for name in ("pyproject.toml", *LOCKS):
        (tmp_path / name).touch()
    refused = _make(tmp_path, "PYTHON=false", "demo")
    assert refused.returncode != 0
    assert "Truetick needs Python 3.11 or newer, and false is older or missing." in refused.stderr
    assert not (tmp_path / ".venv").exists()


def _make(folder: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run make as if nobody above had: `make test` runs this file, too."""
    outside = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    return subprocess.run(["make", *arguments], cwd=folder, env=outside, capture_output=True, text=True, check=False)


def _names(requirements: list[str]) -> list[str]:
    return [_plain(re.split(r"[\[<>=!~; ]", requirement)[0]) for requirement in requirements]


def _locked(*locks: str) -> dict[str, str]:
    lines = "\n".join((ROOT / lock).read_text() for lock in locks)
    return {_plain(name): version for name, version in re.findall(r"^([\w.-]+)==(\S+)", lines, re.MULTILINE)}


def _plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
