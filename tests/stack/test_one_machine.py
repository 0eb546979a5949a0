"""`truetick up` as a person runs it: all parts, real processes, and nothing left behind."""

import http.client
import json
import os
import signal
import socket
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.stack.processes import Running, until
from worker.settings import read_settings
from worker.stack.one_machine import OneMachine
from worker.stack.parts import Addresses
from worker.stack.ports import free_port
from worker.stack.probes import http_answers

UP = ("-m", "worker.cli.app", "up")
START_S = 40.0


@pytest.fixture
def up(running: Callable[..., Running]) -> Callable[..., Running]:
    def start(*options: str, **environment: str) -> Running:
        ports = ("--port", str(free_port()), "--sandbox-port", str(free_port()))
        return running(*UP, *ports, *options, **environment)

    return start


def _get(port: str, path: str) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", int(port), timeout=5)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def _parts(stack: Running, *commands: str) -> set[int]:
    """The living processes of this stack whose command line has one of these, leashes left out."""
    table = subprocess.run(["ps", "-A", "-ww", "-o", "pid=,args="], capture_output=True, text=True, check=True).stdout
    rows = [line.split(None, 1) for line in table.splitlines()]
    family = stack.family()
    return {
        int(pid)
        for pid, args in rows
        if int(pid) in family and "leash.py" not in args and any(command in args for command in commands)
    }


def _option(stack: Running, name: str) -> str:
    arguments = stack.process.args
    assert isinstance(arguments, list)
    return str(arguments[arguments.index(name) + 1])


@pytest.mark.slow
def test_a_killed_stack_leaves_nothing_and_starts_again_on_its_data_and_a_killed_part_comes_back(
    up: Callable[..., Running], tmp_path: Path
) -> None:
    stack = up()
    stack.says("Ready. Ctrl-C stops everything.", within_s=START_S)
    stack.family()

    assert "THIS IS THE SANDBOX: nothing reaches WhatsApp." in stack.output
    assert _get(_option(stack, "--port"), "/healthz")[0] == 200
    channels = json.loads(_get(_option(stack, "--sandbox-port"), "/_sandbox/channels")[1])["channels"]
    assert [(channel["name"], channel["limit"]) for channel in channels] == [("default", "1/5")]

    var = tmp_path / "var"
    assert stat.S_IMODE(var.stat().st_mode) == 0o700
    assert stat.S_IMODE((var / "broker").stat().st_mode) == 0o700
    keys = [(var / name).read_text().strip() for name in ("api-key", "sandbox-api-key", "sandbox-webhook-secret")]
    commands = subprocess.run(["ps", "-A", "-ww", "-o", "args="], capture_output=True, text=True, check=True).stdout
    for key in keys:
        assert key not in stack.output
        assert key not in commands

    second = up()
    assert second.process.wait(20) == 1
    assert f"already running on {var} (pid {stack.pid})" in second.output
    assert "Traceback" not in second.output

    stack.send(signal.SIGKILL)
    third = up()  # while the first one's children are still ending
    third.says("Ready. Ctrl-C stops everything.", within_s=START_S + 40)
    assert stack.survivors() == set()
    assert keys[0] == (var / "api-key").read_text().strip()
    _kill_parts_that_come_back(third)
    third.family()
    third.send(signal.SIGINT)
    assert third.ends(within_s=60) == 0


def _kill_parts_that_come_back(stack: Running) -> None:
    until(lambda: len(_parts(stack, "valkey-server", "celery -A worker beat")) == 2)
    killed = _parts(stack, "valkey-server", "celery -A worker beat")
    for pid in killed:
        os.kill(pid, signal.SIGKILL)
    stack.says("valkey ended (exit code 137); it is started again in 0.5 s.")
    stack.says("beat ended (exit code 137); it is started again in 0.5 s.")
    until(lambda: len(_parts(stack, "valkey-server", "celery -A worker beat") - killed) == 2)


@pytest.mark.slow
def test_interrupted_twice_while_it_starts_it_leaves_nothing(up: Callable[..., Running]) -> None:
    stack = up()
    stack.says("sandbox  |", within_s=START_S)
    stack.family()
    stack.send(signal.SIGINT)
    stack.says("Stopping.")
    until(lambda: stack.process.poll() is not None or stack.send(signal.SIGINT) or "Killing." in stack.output)
    stack.family()
    assert stack.ends(within_s=10) in {0, -signal.SIGINT}, "the last Ctrl-C may come when all is over"


@pytest.mark.slow
def test_with_a_key_for_the_real_wasender_there_is_no_sandbox_and_flower_is_locked(
    up: Callable[..., Running], tmp_path: Path
) -> None:
    nowhere = f"http://127.0.0.1:{free_port()}/api"
    flower = str(free_port())
    stack = up(
        *("--flower", "--flower-port", flower),
        WASENDER_API_KEY="a-real-key",
        WASENDER_BASE_URL=nowhere,
        TRUETICK_API_KEYS="chosen-by-a-person",
    )
    stack.says("Ready. Ctrl-C stops everything.", within_s=START_S)
    assert "sandbox" not in stack.output.lower()
    assert f"WaSender           {nowhere}" in stack.output
    assert "in TRUETICK_API_KEYS" in stack.output
    assert not (tmp_path / "var" / "api-key").exists()
    until(lambda: http_answers("127.0.0.1", int(flower), "/"), what="Flower's start")
    assert _get(flower, "/")[0] == 401, "its pages need the password"
    assert (tmp_path / "var" / "flower-password").read_text().strip() not in stack.output
    stack.family()
    stack.send(signal.SIGTERM)
    assert stack.ends(within_s=60) == 0


@pytest.mark.parametrize("option", ["--port", "--sandbox-port"])
def test_a_port_in_use_is_one_sentence_and_exit_code_1(running: Callable[..., Running], option: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        ports = {"--port": free_port(), "--sandbox-port": free_port(), option: taken.getsockname()[1]}
        stack = running(*UP, *(str(word) for pair in ports.items() for word in pair))
        assert stack.process.wait(20) == 1
    assert f"is already in use by another program. Choose another, such as {option} " in stack.output
    assert stack.output.count("\n") == 1


def test_a_setting_that_cannot_be_used_is_one_sentence_and_exit_code_1(up: Callable[..., Running]) -> None:
    stack = up(TRUETICK_PACE="fast")
    assert stack.process.wait(20) == 1
    assert "TRUETICK_PACE" in stack.output
    assert "Traceback" not in stack.output


def test_a_wrong_option_is_exit_code_2(up: Callable[..., Running]) -> None:
    assert up("--nonsense").process.wait(20) == 2


def test_no_address_is_shown_with_what_opens_it(tmp_path: Path) -> None:
    settings = read_settings(
        DATABASE_URL="postgresql://me:secret-1@db/crm",
        CELERY_BROKER_URL="redis://:secret-2@broker:6379/0?password=secret-4",
        WASENDER_BASE_URL="https://me:secret-3@gateway.example/api",
        WASENDER_API_KEY="secret-5",
        TRUETICK_VAR_DIR=tmp_path,
        _env_file=None,
    )
    where = Addresses(web_host="127.0.0.1", web_port=5000, sandbox_port=8900, flower_port=None)

    said = "\n".join(OneMachine(settings=settings, addresses=where).notice())

    assert "https://gateway.example/api" in said
    assert "secret-" not in said
