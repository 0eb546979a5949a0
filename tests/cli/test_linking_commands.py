"""`truetick channels reconnect` and `rotate-key`: what an operator, a program and a log file get to see."""

import io
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import chain
from typing import Any

import pytest
import segno
from typer import Exit

from tests.channels.test_reconnecting import TOKEN
from tests.cli.conftest import Said
from tests.conftest import API_KEY
from wasender_sandbox.control import Sandbox
from worker.channels import registry
from worker.cli import linking_work, qr_code
from worker.cli.workplace import Workers
from worker.database import transaction
from worker.domain.errors import GatewayTrouble
from worker.parts import Parts

Truetick = Callable[..., Said]
#: As long as those that WhatsApp makes.
CODE = "2@" + "Ab9/xY+=" * 28 + "," + "Qz" * 20


@pytest.fixture
def here(sqlite_url: str, build: Callable[..., Parts], sandbox: Sandbox) -> Parts:
    sandbox.create_channel("default", api_key=API_KEY)
    parts = build(sqlite_url, WASENDER_PERSONAL_ACCESS_TOKEN=TOKEN)
    with transaction(parts.engine) as connection:
        registry.ensure_default(connection, parts.settings.pace, parts.clock())
    return parts


@pytest.fixture
def reachable(sandbox: Sandbox) -> dict[str, str]:
    """The environment in which the sandbox is WaSender."""
    return {
        "WASENDER_BASE_URL": sandbox.api_url,
        "WASENDER_API_KEY": API_KEY,
        "WASENDER_PERSONAL_ACCESS_TOKEN": TOKEN,
    }


@pytest.fixture
def lost(quick: Parts, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> Parts:
    """The session has lost its phone, and somebody scans once WaSender has been asked twice."""
    sandbox.set_status("default", "logged_out")
    scanned_when_asked(quick, sandbox, monkeypatch)
    return quick


class Terminal(io.StringIO):
    """A standard output that says it is a terminal."""

    encoding = "utf-8"  # type: ignore[assignment]

    def isatty(self) -> bool:
        return True


def terminal(monkeypatch: pytest.MonkeyPatch, *, lines: int = 60, columns: int = 80) -> Terminal:
    """From here on standard output is a terminal of this size."""
    monkeypatch.setattr(sys, "stdout", screen := Terminal())
    monkeypatch.setenv("LINES", str(lines))
    monkeypatch.setenv("COLUMNS", str(columns))
    return screen


@pytest.fixture
def quick(here: Parts, monkeypatch: pytest.MonkeyPatch) -> Parts:
    """The command in this process, without its pauses and without a broker."""

    @contextmanager
    def workplace() -> Iterator[Parts]:
        yield here

    monkeypatch.setattr(linking_work, "workplace", workplace)
    monkeypatch.setattr(linking_work, "ask_for_check", lambda: Workers.ANSWER)
    monkeypatch.setattr("worker.reconnecting.ASK_EVERY_S", 0.02)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    return here


def reconnect(**options: Any) -> None:
    linking_work.reconnect(
        "default", **({"timeout_s": 5.0, "inverted": False, "as_json": False, "show_code": False} | options)
    )


def scanned_when_asked(parts: Parts, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, after: int = 2) -> None:
    """Somebody scans once WaSender has been asked so often."""
    real, asked = parts.gateway.status, []

    def status(key: str) -> Any:
        asked.append(1)
        if len(asked) == after:
            sandbox.scan("default")
        return real(key)

    monkeypatch.setattr(parts.gateway, "status", status)


# The drawing


def read_back(lines: list[str], ink: dict[str, tuple[int, int]]) -> list[list[int]]:
    """The modules that a drawing shows, without the quiet zone."""
    pairs = [[ink[char] for char in line] for line in lines]
    rows = list(chain.from_iterable(([up for up, _ in line], [low for _, low in line]) for line in pairs))
    size = len(rows[0])
    return [row[4 : size - 4] for row in rows[4 : size - 4]]


DARK = {"█": (1, 1), "▀": (1, 0), "▄": (0, 1), " ": (0, 0)}
LIGHT = {char: (1 - up, 1 - low) for char, (up, low) in DARK.items()}


@pytest.mark.parametrize(("inverted", "ink"), [(False, DARK), (True, LIGHT)])
def test_what_is_drawn_is_the_code(inverted: bool, ink: dict[str, tuple[int, int]]) -> None:
    lines = qr_code.draw(CODE, coloured=False, inverted=inverted)
    assert read_back(lines, ink) == [list(row) for row in segno.make(CODE, error="l", micro=False).matrix]


def test_a_code_of_whatsapps_length_fits_80_columns_with_its_quiet_zone() -> None:
    lines = qr_code.draw(CODE, coloured=False)
    assert max(map(len, lines)) <= 80
    assert set(lines[0] + lines[1]) == {" "}
    assert all(line.startswith("    ") and line.endswith("    ") for line in lines)
    assert max(map(len, qr_code.draw("x" * 425, coloured=False))) <= 80


def test_colours_are_its_own_on_a_dark_terminal_and_a_light_one() -> None:
    coloured = qr_code.draw(CODE, coloured=True, inverted=True)
    plain = qr_code.draw(CODE, coloured=False)
    assert coloured == [f"\x1b[38;5;16;48;5;231m{line}\x1b[0m" for line in plain]


# On a terminal


@pytest.mark.usefixtures("lost")
def test_a_terminal_shows_the_code_and_keeps_no_trace_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = terminal(monkeypatch)
    reconnect()

    shown = screen.getvalue()
    before, sheet, after = shown.partition("\x1b[?1049h")[0], *shown.partition("\x1b[?1049h")[2].split("\x1b[?1049l")
    assert before == ""
    assert "\x1b[38;5;16;48;5;231m" in sheet
    assert "Linked devices" in sheet
    assert "█" not in after
    assert "It is connected" in after
    assert "2@" not in shown


@pytest.mark.usefixtures("lost")
def test_a_terminal_that_is_too_low_lets_people_scroll(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = terminal(monkeypatch, lines=24)
    reconnect()
    assert "\x1b[?1049" not in screen.getvalue()
    assert "█" in screen.getvalue()


@pytest.mark.usefixtures("lost")
def test_a_narrow_terminal_is_told_what_it_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = terminal(monkeypatch, columns=30)
    reconnect()
    assert "█" not in screen.getvalue()
    assert "columns" in screen.getvalue()


def test_ctrl_c_ends_it_cleanly_and_takes_the_code_away(
    lost: Parts, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    screen = terminal(monkeypatch)

    def interrupted(_: str) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(lost.gateway, "status", interrupted)
    with pytest.raises(Exit) as ended:
        reconnect()
    assert ended.value.exit_code == 130
    assert screen.getvalue().endswith("\x1b[?1049l")
    assert "truetick channels reconnect default" in capsys.readouterr().err


# In a file, and for programs


def test_in_a_file_the_code_is_drawn_once_and_without_colours(
    quick: Parts, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    sandbox.set_status("default", "logged_out")
    monkeypatch.setattr("worker.reconnecting.CODE_KEPT_S", 0.0)
    scanned_when_asked(quick, sandbox, monkeypatch, after=5)
    reconnect()
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert out.count("The code has expired") == 1
    tops = [line for line in out.splitlines() if line.startswith("    █▀▀▀▀▀█") and line.endswith("█▀▀▀▀▀█    ")]
    assert len(tops) == 1
    assert "2@" not in out


@pytest.mark.usefixtures("lost")
@pytest.mark.parametrize("show_code", [False, True])
def test_programs_get_a_line_a_stage_and_the_code_only_if_they_ask(
    capsys: pytest.CaptureFixture[str], show_code: bool
) -> None:
    reconnect(as_json=True, show_code=show_code)
    out = capsys.readouterr().out
    first, last = (json.loads(line) for line in out.splitlines())
    assert (first["channel"], first["state"], last["state"]) == ("default", "need_scan", "connected")
    assert first["expires_at"].endswith("Z")
    assert (first.get("qr_code") or "").startswith("2@") is show_code
    assert ("2@" in out) is show_code


def test_nobody_scans_in_time(quick: Parts, sandbox: Sandbox, capsys: pytest.CaptureFixture[str]) -> None:
    sandbox.set_status("default", "logged_out")
    with pytest.raises(GatewayTrouble, match="not connected within 0 s"):
        reconnect(timeout_s=0.1, as_json=True)
    assert json.loads(capsys.readouterr().out)["state"] == "need_scan"


# As processes


def test_the_commands_end_with_the_codes_that_scripts_rely_on(
    on: Truetick, here: Parts, sandbox: Sandbox, reachable: dict[str, str]
) -> None:
    connected = on("channels", "reconnect", "default", "--json", **reachable)
    no_token = on("channels", "reconnect", "default", **(reachable | {"WASENDER_PERSONAL_ACCESS_TOKEN": ""}))
    unknown = on("channels", "reconnect", "nowhere", **reachable)
    never = on("channels", "reconnect", "default", "--timeout", "0", **reachable)

    assert (connected.code, connected.json["state"]) == (0, "connected")
    assert (no_token.code, no_token.out) == (1, "")
    assert "Linked devices" in no_token.err
    assert (unknown.code, never.code) == (1, 2)


def test_a_key_is_rotated_and_never_shown(
    on: Truetick, here: Parts, sandbox: Sandbox, reachable: dict[str, str]
) -> None:
    old = sandbox.create_channel("sales")["api_key"]
    on("channels", "add", "sales", "--api-key", "-", stdin=old)

    said = on("channels", "rotate-key", "sales", **reachable)
    as_json = on("channels", "rotate-key", "sales", "--json", **reachable)
    default = on("channels", "rotate-key", "default", **reachable)

    assert said.code == 0, said.err
    assert "has a new key" in said.out
    assert (as_json.code, as_json.json["state"]) == (0, "unknown")
    new = sandbox.channel("sales")["api_key"]
    assert new != old
    assert not [one for one in (old, new) if one in said.out + said.err + as_json.out + as_json.err]
    assert default.code == 1
    assert "WASENDER_API_KEY" in default.err
