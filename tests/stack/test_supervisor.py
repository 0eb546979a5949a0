"""The supervisor over small children: restarts, order, and that nobody is left behind however it ends."""

import os
import re
import signal
import time
from collections.abc import Callable

import pytest

from tests.stack.processes import Running, alive, until

STEADY = "import time; print('up'); time.sleep(600)"
STUBBORN = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up'); time.sleep(600)"
DYING = "print('I die'); raise SystemExit(7)"
#: Leaves a grandchild in its group, which does not listen to SIGTERM.
PARENT = (
    "import subprocess, sys, time\n"
    "subprocess.Popen([sys.executable, '-c', 'import signal, time;"
    'signal.signal(signal.SIGTERM, signal.SIG_IGN); print("grandchild"); time.sleep(600)\'])\n'
    "time.sleep(600)"
)

Supervising = Callable[..., Running]


def test_lines_carry_the_name_of_their_child(supervising: Supervising) -> None:
    stack = supervising(one=STEADY, two="import os, time; os.write(1, b'up\\nno newline'); time.sleep(600)")
    stack.says("one      | up\n")
    stack.says("two      | up\n")
    stack.send(signal.SIGTERM)
    assert stack.ends() == 0
    assert "two      | no newline" in stack.output
    assert "\x1b[" not in stack.output, "a file gets no colours"


def test_a_child_that_dies_is_started_again_after_a_growing_pause(supervising: Supervising) -> None:
    stack = supervising(dying=DYING)
    stack.says("again in 0.8 s")
    pauses = re.findall(r"exit code 7\); it is started again in ([\d.]+) s", stack.output)
    assert pauses[:3] == ["0.2", "0.4", "0.8"]


def test_the_pause_is_short_again_after_a_stable_time(supervising: Supervising) -> None:
    stack = supervising(child="import time; print('up'); time.sleep(1.2); raise SystemExit(7)")
    until(lambda: stack.output.count("it is started again") >= 3)
    assert set(re.findall(r"again in ([\d.]+) s", stack.output)) == {"0.2"}


def test_children_are_stopped_the_youngest_first(supervising: Supervising) -> None:
    tells = (
        "import signal, time\n"
        "def stop(*_):\n    print('stopped'); raise SystemExit\n"
        "signal.signal(signal.SIGTERM, stop); print('up')\ntime.sleep(600)"
    )
    stack = supervising(old=tells, young=tells)
    until(lambda: stack.output.count("| up") == 2)
    stack.send(signal.SIGINT)
    assert stack.ends() == 0
    assert re.findall(r"(\w+) +\| stopped", stack.output) == ["young", "old"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_stops_stubborn_children_and_grandchildren_too(
    supervising: Supervising, number: signal.Signals
) -> None:
    stack = supervising(stubborn=STUBBORN, parent=PARENT)
    stack.says("| up")
    stack.says("grandchild")
    assert len(stack.family()) == 5, "two leashes, two children, one grandchild"
    stack.send(number)
    assert stack.ends() == 0


@pytest.mark.timed
def test_a_second_interrupt_kills_at_once(supervising: Supervising) -> None:
    stack = supervising(stubborn=STUBBORN, another=STUBBORN, third=STUBBORN)
    until(lambda: stack.output.count("| up") == 3)
    stack.family()
    stack.send(signal.SIGINT)
    stack.says("Stopping.")

    def interrupt_again() -> bool:
        if stack.process.poll() is None:
            stack.send(signal.SIGINT)
        return "Killing." in stack.output

    until(interrupt_again, within_s=5)
    assert stack.ends(within_s=1.9) == 0, "well before the grace of three children is over"


def test_whoever_goes_on_interrupting_changes_nothing_about_the_end(supervising: Supervising) -> None:
    stack = supervising(steady=STEADY)
    until(lambda: "| up" in stack.output)

    while stack.process.poll() is None:
        stack.send(signal.SIGINT)
        time.sleep(0.002)

    assert stack.ends() == 0


def test_nothing_is_left_when_the_supervisor_is_killed(supervising: Supervising) -> None:
    stack = supervising(steady=STEADY, stubborn=STUBBORN, parent=PARENT)
    stack.says("grandchild")
    until(lambda: stack.output.count("| up") == 2)
    assert len(stack.family()) == 7
    stack.send(signal.SIGKILL)
    assert stack.ends() == -signal.SIGKILL


def test_a_killed_leash_takes_its_child_along_and_both_are_started_again(supervising: Supervising) -> None:
    stack = supervising(stubborn=STUBBORN)
    stack.says("| up")
    leash, child = sorted(stack.family())
    os.kill(leash, signal.SIGKILL)
    until(lambda: not alive(child), what="the child's end")
    until(lambda: stack.output.count("| up") == 2, what="a second start")


def test_a_command_that_does_not_exist_is_said_in_words(supervising: Supervising) -> None:
    stack = supervising(child="import os; os.execvp('/no/such/program', ['x'])")
    stack.says("it is started again")
    assert "FileNotFoundError" in stack.output


def test_very_long_lines_and_broken_bytes_pass(supervising: Supervising) -> None:
    stack = supervising(
        child="import sys, time; sys.stdout.buffer.write(b'x' * 300_000 + b'\\n\\xff\\xfe end\\n'); time.sleep(600)"
    )
    stack.says("\N{REPLACEMENT CHARACTER} end")
    assert stack.output.count("x") >= 300_000
