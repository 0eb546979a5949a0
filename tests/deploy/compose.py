"""Reads docker-compose.yml as Docker does (variables included), and runs its services as local processes."""

import os
import re
import shlex
import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from tests.live_stack import ROOT
from worker.stack.valkey import server_binary

FILE = ROOT / "docker-compose.yml"
_VARIABLE = re.compile(r"\$(?:(?P<dollar>\$)|\{(?P<name>\w+)(?::(?P<kind>[-?])(?P<rest>[^}]*))?\})")
#: What the image and its neighbours call their programs, and how this machine does.
PROGRAMS = {
    "truetick": [sys.executable, "-m", "worker.cli.app"],
    "celery": [sys.executable, "-m", "celery"],
    "python": [sys.executable],
    "valkey-server": [str(server_binary())],
}


class Missing(Exception):
    """A required variable is not set; the file's own message says which and what to do."""


def raw() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(FILE.read_text())
    return found


def services(environment: Mapping[str, str]) -> dict[str, Any]:
    """Every service with its variables filled in. Raises Missing."""
    filled: dict[str, Any] = _filled(raw()["services"], environment)
    return filled


def _filled(value: Any, environment: Mapping[str, str]) -> Any:
    if isinstance(value, dict):
        return {name: _filled(inner, environment) for name, inner in value.items()}
    if isinstance(value, list):
        return [_filled(inner, environment) for inner in value]
    if not isinstance(value, str):
        return value

    def fill(match: re.Match[str]) -> str:
        if match["dollar"]:
            return "$"
        given = environment.get(match["name"], "")
        if not given and match["kind"] == "?":
            raise Missing(match["rest"])
        return given or (match["rest"] or "" if match["kind"] == "-" else "")

    return _VARIABLE.sub(fill, value)


class Local:
    """Services as local processes. `places` turns addresses inside Docker into those of this machine."""

    def __init__(self, folder: Path, described: dict[str, Any], places: Mapping[str, str]) -> None:
        self.folder = folder
        self._described = described
        self._places = places
        self.running: dict[str, subprocess.Popen[bytes]] = {}
        self.work = folder / "work"
        self.work.mkdir()
        self._programs = folder / "bin"
        self._programs.mkdir()
        for name, command in PROGRAMS.items():
            shim = self._programs / name
            shim.write_text(f'#!/bin/sh\nexec {shlex.join(command)} "$@"\n')
            shim.chmod(0o755)

    def start(self, name: str, *more: str) -> subprocess.Popen[bytes]:
        with (self.folder / f"{name}.log").open("wb") as log:
            self.running[name] = subprocess.Popen(
                [*self._placed(self._described[name]["command"]), *more],
                cwd=self.work,
                env=self.environment(name),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        return self.running[name]

    def run(self, name: str, *command: str) -> subprocess.CompletedProcess[str]:
        """A command inside the service, as `docker compose exec` would."""
        environment = self.environment(name)
        return subprocess.run(command, cwd=self.work, env=environment, capture_output=True, text=True, timeout=60)

    def healthy(self, name: str) -> bool:
        """The file's own healthcheck, once."""
        process = self.running[name]
        assert process.poll() is None, f"{name} ended: {self.log(name)}"
        kind, *test = self._placed(self._described[name]["healthcheck"]["test"])
        command = test if kind == "CMD" else ["/bin/sh", "-c", test[0]]
        return self.run(name, *command).returncode == 0

    def stop(self, name: str) -> int:
        """SIGTERM and the service's own grace; returns the exit code."""
        process = self.running.pop(name)
        process.terminate()
        return process.wait(timeout=int(self._described[name].get("stop_grace_period", "10s").removesuffix("s")))

    def close(self) -> None:
        for process in self.running.values():
            process.kill()
        for process in self.running.values():
            process.wait()

    def log(self, name: str) -> str:
        return (self.folder / f"{name}.log").read_text(errors="replace")

    def environment(self, name: str) -> dict[str, str]:
        given = self._described[name].get("environment", {})
        return {
            "PATH": f"{self._programs}:{os.defpath}",
            "HOSTNAME": socket.gethostname(),
            "PYTHONPATH": str(ROOT),
            "PYTHONDONTWRITEBYTECODE": "1",
            **{variable: self._place(str(value)) for variable, value in given.items()},
        }

    def _placed(self, texts: list[str]) -> list[str]:
        return [self._place(text) for text in texts]

    def _place(self, text: str) -> str:
        for inside, here in self._places.items():
            text = text.replace(inside, here)
        return text
