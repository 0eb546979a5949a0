"""What `channels reconnect` and `channels rotate-key` do."""

import json
import os
import shutil
import sys

import typer

from worker import key_rotation
from worker.cli import display, qr_code
from worker.cli.channel_work import answer
from worker.cli.workplace import NOT_CHECKED, ask_for_check, workplace
from worker.domain.linking import CODE_LIFETIME, CONNECTED
from worker.reconnecting import Reconnection, Stage, follow

#: A terminal's second screen, which leaves no trace on the first one.
_SHEET, _WIPE, _SHEET_AWAY = "\x1b[?1049h", "\x1b[2J\x1b[H", "\x1b[?1049l"
LINES_BELOW = 4
#: What shells say of a command that was stopped by Ctrl-C.
INTERRUPTED = 130


def reconnect(name: str, *, timeout_s: float, inverted: bool, as_json: bool, show_code: bool) -> None:
    with workplace() as parts:
        screen: _Screen = _Lines(name, show_code=show_code) if as_json else _Drawing(name, inverted=inverted)
        try:
            for stage in follow(Reconnection(parts, name), within_s=timeout_s):
                screen.show(stage)
        except KeyboardInterrupt:
            screen.end()
            typer.echo(f"Stopped. To go on: truetick channels reconnect {name}", err=True)
            raise typer.Exit(INTERRUPTED) from None
        except BaseException:
            screen.end()
            raise
        workers = ask_for_check()
        if workers in NOT_CHECKED and not as_json:
            display.say(NOT_CHECKED[workers], style="yellow")


def rotate_key(name: str, *, wait_s: float, as_json: bool) -> None:
    with workplace() as parts:
        try:
            rotated = key_rotation.rotate(parts, name, wait_s=wait_s)
        except KeyboardInterrupt:
            typer.echo(
                f"Stopped. If `truetick channels show {name}` says paused (key_rotation), WaSender may have made a "
                f"new key already. Then do it again: truetick channels rotate-key {name}",
                err=True,
            )
            raise typer.Exit(INTERRUPTED) from None
        stays = "" if rotated.resumed else " It stays paused."
        said = f"Channel {name} has a new key; the former one is dead.{stays}"
        answer(parts, name, said, as_json=as_json, check=rotated.resumed)


class _Screen:
    """Where the stages of a reconnection are shown."""

    def show(self, stage: Stage) -> None:
        raise NotImplementedError

    def end(self) -> None:
        """Nothing that could be scanned is left."""


class _Lines(_Screen):
    """One JSON object a line, for programs."""

    def __init__(self, name: str, *, show_code: bool) -> None:
        self._name = name
        self._show_code = show_code

    def show(self, stage: Stage) -> None:
        line = {
            "channel": self._name,
            "state": stage.state,
            "expires_at": stage.expires_at.isoformat().replace("+00:00", "Z") if stage.expires_at else None,
            "advice": stage.advice,
        }
        if self._show_code:
            line["qr_code"] = stage.qr_code.get_secret_value() if stage.qr_code else None
        typer.echo(json.dumps(line))
        sys.stdout.flush()


class _Drawing(_Screen):
    """The code itself. On a terminal with room for it, it is replaced before it expires and wiped away at the end."""

    def __init__(self, name: str, *, inverted: bool) -> None:
        self._name = name
        self._inverted = inverted
        self._is_terminal = sys.stdout.isatty() and os.environ.get("TERM", "dumb") != "dumb"
        self._coloured = self._is_terminal and not os.environ.get("NO_COLOR")
        self._on_sheet = False
        self._codes = 0

    def show(self, stage: Stage) -> None:
        if stage.qr_code is None:
            self.end()
            display.say(f"{self._name}: {stage.advice}", style="green" if stage.state == CONNECTED else "yellow")
            return
        self._codes += 1
        if self._codes == 1 or self._is_terminal:
            self._draw(stage.qr_code.get_secret_value())
            display.say(f"{self._name}: {stage.advice}")
            lifetime = f"It can be scanned for {CODE_LIFETIME.seconds} seconds"
            display.say(f"{lifetime}, then it is replaced." if self._is_terminal else f"{lifetime}.")
        elif self._codes == 2:
            display.say("The code has expired. Run this on a terminal for one that is replaced in time.")

    def _draw(self, text: str) -> None:
        lines = qr_code.draw(text, coloured=self._coloured, inverted=self._inverted)
        width = len(qr_code.draw(text, coloured=False)[0])
        size = shutil.get_terminal_size((80, 24))
        if not qr_code.can_be_shown() or (self._is_terminal and width > size.columns):
            display.say(
                f"The code needs {width} columns and a Unicode locale; or scan it in WaSender.", style="yellow"
            )
            return
        if self._is_terminal and size.lines >= len(lines) + LINES_BELOW:
            sys.stdout.write(_WIPE if self._on_sheet else _SHEET + _WIPE)
            self._on_sheet = True
        sys.stdout.write("\n".join(lines) + "\n")
        sys.stdout.flush()

    def end(self) -> None:
        if self._on_sheet:
            sys.stdout.write(_SHEET_AWAY)
            sys.stdout.flush()
            self._on_sheet = False
