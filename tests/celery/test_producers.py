"""A producer whose broker is dead or frozen learns it quickly; a wake-up that is lost costs nobody more than time."""

import json
import os
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests import programs
from tests.real_servers import Valkey, wait_until

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
    environment: dict[str, str], broker: Valkey, trouble: str, connected: str, tmp_path: Path
) -> None:
    lines, output, errors = tmp_path / "lines", tmp_path / "told.txt", tmp_path / "errors.txt"
    os.mkfifo(lines)
    process = programs.warm(
        *("python", "-c", PRODUCER, connected),
        environment=os.environ | environment,
        input=lines,
        output=output,
        errors=errors,
    )

    def answers() -> list[Any]:
        assert process.poll() is None, errors.read_text()
        said = output.read_text() if output.exists() else ""
        return [json.loads(line.removeprefix("told ")) for line in said.split("\n")[:-1] if line.startswith("told ")]

    def told(count: int) -> Any:
        return wait_until(lambda: len(answers()) >= count and answers(), within_s=30, what="an answer")[-1]

    with ExitStack() as then:
        then.callback(process.kill)
        line = then.enter_context(lines.open("w", buffering=1))
        known = 0
        if connected == "warm":
            known = 1
            assert told(known)[1] == ""
        if trouble == "dead":
            broker.kill()
        else:
            then.enter_context(broker.frozen())
        then_told = {}
        for number, action in enumerate(("publish", "wake"), start=known + 1):
            print(action, file=line)
            then_told[action] = told(number)
    assert then_told["publish"][1] == "kombu.exceptions.OperationalError"
    assert then_told["wake"][1] == "", "a lost wake-up was made the caller's trouble"
    assert max(seconds for seconds, _ in then_told.values()) <= 1.5
