"""A producer whose broker is dead or frozen learns it quickly; a wake-up that is lost costs nobody more than time."""

import json
import os
import signal
import subprocess
import sys

import pytest

from tests.live_stack import ROOT
from tests.real_servers import Valkey

#: Publishes once while all is well, then whenever a line comes in; tells how long it took and what was raised.
PRODUCER = """
import json, sys, time
from worker.tasks import send_message, wake_drain

def publish():
    send_message.apply_async(kwargs={"to": "7033000001", "text": "Hello"})

def told(action):
    began = time.monotonic()
    try:
        action()
        raised = ""
    except Exception as error:
        raised = type(error).__module__ + "." + type(error).__name__
    print("told", json.dumps([time.monotonic() - began, raised]), flush=True)

if "warm" in sys.argv:
    told(publish)
for line in sys.stdin:
    told(publish if line.strip() == "publish" else wake_drain)
"""


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize("trouble", ["dead", "frozen"])
@pytest.mark.parametrize("connected", ["warm", "cold"])
def test_publishing_to_a_broker_that_does_not_answer_fails_within_a_second_and_a_half(
    environment: dict[str, str], broker: Valkey, trouble: str, connected: str
) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", PRODUCER, connected],
        cwd=ROOT,
        env=os.environ | environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdin
    try:
        if connected == "warm":
            assert _answer(process)[1] == ""
        if trouble == "dead":
            broker.kill()
        else:
            os.kill(broker.pid, signal.SIGSTOP)
        answers = {}
        for action in ("publish", "wake"):
            print(action, file=process.stdin, flush=True)
            answers[action] = _answer(process)
    finally:
        process.kill()
        process.communicate()
    assert answers["publish"][1] == "kombu.exceptions.OperationalError"
    assert answers["wake"][1] == "", "a lost wake-up was made the caller's trouble"
    assert max(seconds for seconds, _ in answers.values()) <= 1.5


def _answer(process: "subprocess.Popen[str]") -> tuple[float, str]:
    assert process.stdout
    line = next(line for line in process.stdout if line.startswith("told "))
    seconds, raised = json.loads(line.removeprefix("told "))
    return seconds, raised
