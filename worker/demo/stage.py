"""Where the demonstration plays: a one-machine stack of its own, in a folder of its own, on free ports."""

import os
import shutil
import sys
import tempfile
import threading
import time
from pathlib import Path

from rich.console import Console

from wasender_sandbox.control import Sandbox
from worker.database import open_engine
from worker.demo.story import Interrupted, Story
from worker.settings import Settings, settings
from worker.stack.errors import StackFailed
from worker.stack.log_lines import Files
from worker.stack.one_machine import OneMachine
from worker.stack.parts import LOOPBACK, Addresses
from worker.stack.ports import free_port
from worker.stack.supervisor import OWN_NAME

#: The demonstration must neither read nor touch what is configured for real use.
CONFIGURED = ("TRUETICK_", "WASENDER_", "CELERY_", "FLOWER_", "DATABASE_URL", "DEFAULT_REGION")

PACE = {
    "TRUETICK_PACE": "2/1",
    "TRUETICK_CHECK_INTERVAL_S": "1",
    "TRUETICK_RECONCILE_INTERVAL_S": "1",
    "TRUETICK_SWEEP_INTERVAL_S": "1",
}


class _Log(Files):
    """The children's lines go to files; what the supervisor itself says is shown."""

    def __init__(self, folder: Path, console: Console) -> None:
        super().__init__(folder)
        self._console = console

    def write(self, name: str, line: str) -> None:
        super().write(name, line)
        if name == OWN_NAME:
            self._console.print(line, style="dim", highlight=False, markup=False)


def play(console: Console | None = None) -> int:
    """Exit code 0 only if the verdict is clean. Leaves no process and, when it is, no file behind."""
    console = console or Console(width=None if sys.stdout.isatty() else 120)
    began = time.monotonic()
    folder = Path(tempfile.mkdtemp(prefix="truetick-demo-"))
    home = Path.cwd()
    machine = _set_up(folder)
    log = _Log(folder / "logs", console)
    console.print("Starting broker, database, sandbox, worker, beat and web on this machine …", style="dim")
    code = 1
    try:
        code = machine.run(log, lambda stop: _tell(machine, console, stop))
    except StackFailed as error:
        for name in (name for name in log.last if name in error.message):
            console.print(*log.last[name], sep="\n", markup=False, highlight=False)
        raise
    finally:
        log.close()
        os.chdir(home)
        if code == 0:
            shutil.rmtree(folder, ignore_errors=True)
        else:
            console.print(f"Logs and database of this run: {folder}", markup=False, soft_wrap=True)
    console.print(f"Done in {time.monotonic() - began:.0f} s; all processes have ended.", style="dim")
    return code


def _set_up(folder: Path) -> OneMachine:
    """Forget what is configured, in this process and so in its children; the folder has no `.env` file."""
    for name in [name for name in os.environ if name.startswith(CONFIGURED)]:
        del os.environ[name]
    os.environ.update(PACE, TRUETICK_VAR_DIR=str(folder / "var"))
    os.chdir(folder)
    settings.cache_clear()
    return OneMachine(settings=settings(), addresses=Addresses(web_port=free_port(), sandbox_port=free_port()))


def _tell(machine: OneMachine, console: Console, stop: threading.Event) -> int:
    given: Settings = machine.settings
    engine = open_engine(given.database_url)
    with Sandbox(f"http://{LOOPBACK}:{machine.addresses.sandbox_port}") as sandbox:
        try:
            return 0 if Story(given, engine, sandbox, console, stop).tell() else 1
        except Interrupted:
            console.print("Stopped before its end, so nothing is proven.")
            return 1
        finally:
            engine.dispose()
