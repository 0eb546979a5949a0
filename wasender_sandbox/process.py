"""Running the sandbox as a child process and stopping it again, by its pid."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Self

from wasender_sandbox.control import Sandbox

ROOT = Path(__file__).resolve().parent.parent


class SandboxProcess:
    """Context manager: `python -m wasender_sandbox run --port 0` as a real process, ready when entered.

    Gives `base_url`, `api_url`, `pid` and `control`. `arguments` are further options of `run`.
    """

    def __init__(
        self,
        arguments: Sequence[str] = (),
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        seed: int = 0,
        start_timeout_s: float = 20.0,
    ) -> None:
        self._command = [sys.executable, "-m", "wasender_sandbox", "run", "--host", host, "--port", str(port)]
        self._command += ["--seed", str(seed), *arguments]
        self._start_timeout_s = start_timeout_s
        self._process: subprocess.Popen[bytes] | None = None
        self._output: IO[bytes] | None = None
        self.base_url = ""
        self.control: Sandbox

    @property
    def api_url(self) -> str:
        return f"{self.base_url}/api"

    @property
    def pid(self) -> int:
        assert self._process is not None, "the sandbox is not running"
        return self._process.pid

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_exc: object) -> None:
        self.stop()

    def start(self) -> None:
        """Start the process and wait until it answers; RuntimeError with its output if it does not."""
        environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
        paths = [str(ROOT), environment.get("PYTHONPATH", "")]
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, paths))
        self._output = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the process
        self._process = subprocess.Popen(  # noqa: S603 - our own command
            self._command, stdout=self._output, stderr=subprocess.STDOUT, env=environment
        )
        deadline = time.monotonic() + self._start_timeout_s
        while not self.base_url:
            self.base_url = self._announced_url()
            if self._process.poll() is not None or time.monotonic() > deadline:
                output = self.output()
                self.stop()
                raise RuntimeError(f"The sandbox did not start:\n{output}")
            if not self.base_url:
                time.sleep(0.02)
        self.control = Sandbox(self.base_url)
        while not self.control.is_alive():
            if time.monotonic() > deadline:
                self.stop()
                raise RuntimeError("The sandbox listens but does not answer.")
            time.sleep(0.02)

    def stop(self, timeout_s: float = 5.0) -> None:
        """SIGTERM, and SIGKILL if it does not end in time."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(timeout_s)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        if "control" in self.__dict__:
            self.control.close()
        if self._output is not None:
            self._output.close()
            self._output = None
        self._process = None
        self.base_url = ""

    def output(self) -> str:
        """What the process has printed so far."""
        if self._output is None:
            return ""
        descriptor = self._output.fileno()  # pread, because the child writes at the shared file position
        return os.pread(descriptor, os.fstat(descriptor).st_size, 0).decode(errors="replace")

    def _announced_url(self) -> str:
        for line in self.output().splitlines():
            if line.startswith("Sandbox WaSender on "):
                return line.split()[3].removesuffix("/api")
        return ""
