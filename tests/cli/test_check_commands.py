"""`truetick check`, and its other name, in the hands of support staff at night."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.cli.conftest import NO_BROKER, Said
from tests.conftest import API_KEY, SECRET_KEY
from tests.drain.scene import Crm, never_idle
from tests.live_stack import ROOT
from wasender_sandbox.control import Sandbox
from worker import health
from worker.cli import check_page
from worker.diagnosis.finding import TITLES
from worker.parts import Parts

Truetick = Callable[..., Said]
NUMBER = "+91 70330 09600"


@pytest.fixture
def parts(sqlite_url: str, build: Callable[..., Parts], sandbox: Sandbox) -> Parts:
    sandbox.create_channel("default", api_key=API_KEY, limit="none")
    sandbox.switch("ack_after_s", 0)
    sandbox.switch("delivered_after_s", 0.1)
    return build(sqlite_url, TRUETICK_RECONCILE_INTERVAL_S=0.05, TRUETICK_DRAIN_RUN_S=0.2)


@pytest.fixture
def check(on: Truetick, parts: Parts, sandbox: Sandbox) -> Truetick:
    """`truetick check …` at the sandbox, of a channel that a worker has just asked about."""
    Crm(parts, sandbox).channels("default")
    health.check_channels(parts)

    def run(*arguments: str, **environment: str) -> Said:
        given = {"WASENDER_BASE_URL": sandbox.api_url, "WASENDER_API_KEY": API_KEY}
        return on("check", *arguments, columns=100, **(given | environment))

    return run


@pytest.fixture
def at_work(parts: Parts, check: Truetick) -> Iterator[None]:
    with never_idle(parts):
        yield


def test_on_an_empty_environment_it_explains_itself(truetick: Truetick) -> None:
    said = truetick("check", WASENDER_BASE_URL="http://127.0.0.1:9/api", CELERY_BROKER_URL="")

    assert said.code == 1
    assert "There is no API key to send with." in said.out
    assert "truetick db upgrade" in said.out
    assert "truetick up" in said.out
    assert "Sending is not proven" in said.out
    assert said.err == ""


def test_a_green_status_alone_is_exit_code_1_and_says_how_to_prove_it(check: Truetick) -> None:
    said = check()

    assert said.code == 1
    assert "✓ default: The WhatsApp session is connected" in said.out
    assert "? default: Messages go out" in said.out
    assert "truetick check --channel default --test-to NUMBER" in " ".join(said.out.split())
    assert API_KEY not in said.out


def test_the_checks_come_in_the_seeds_order_each_with_its_mark(check: Truetick) -> None:
    said = check()

    marked = [line for line in said.out.splitlines() if line[:2] in {"✓ ", "✗ ", "? ", "– "}]
    titles = [line[2:].removeprefix("default: ") for line in marked]
    assert titles == list(TITLES.values())


def test_a_test_message_is_shown_stage_by_stage_and_proves_it(
    check: Truetick, at_work: None, sandbox: Sandbox
) -> None:
    said = check("--test-to", NUMBER)

    assert said.code == 0, said.out
    stages = said.out[said.out.index("Test message") :]
    for stage in ("is stored", "has taken it up", "has accepted it", "✓ WhatsApp has ticked it"):
        assert stage in stages
    assert "Sending is proven: WhatsApp has ticked the test message." in stages
    assert len(sandbox.ledger(acked=True)) == 1
    assert check().code == 0, "the tick of just now proves it without another message"


def test_a_swallowed_test_message_is_exit_code_1_and_says_where_it_stands(
    check: Truetick, at_work: None, sandbox: Sandbox
) -> None:
    sandbox.mute("default")

    said = check("--test-to", NUMBER, "--timeout", "2")

    assert said.code == 1
    assert "✓ WaSender has accepted it" in said.out
    assert "? WhatsApp has ticked it" in said.out
    assert "Sending is not proven. WaSender took it; WhatsApp has not ticked it yet." in said.out
    assert "truetick why" in said.out


def test_json_is_the_only_thing_on_standard_output(check: Truetick, at_work: None) -> None:
    untested = check("--json")
    tested = check("--test-to", NUMBER, "--json")

    assert (untested.code, untested.json["proven"], untested.json["test_message"]) == (1, False, None)
    assert (tested.code, tested.json["proven"], tested.json["test_message"]["proven"]) == (0, True, True)
    assert tested.json["summary"] == tested.json["test_message"]["summary"], "not what was known before the test"
    assert [check["check"] for check in untested.json["checks"]] == list(TITLES)


def test_nothing_is_sent_without_being_asked_for(check: Truetick, sandbox: Sandbox) -> None:
    check()
    check("--json")

    assert sandbox.requests() == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--test-to", "12"], "too few digits"),
        (["--channel", "nowhere"], "There is no channel named 'nowhere'"),
        (["--channel", "No Name"], "a channel's name"),
        (["--proof-within", "tomorrow"], "is no duration"),
        (["--proof-within", "8d"], "up to 7 days"),
        (["--proof-within", "0s"], "up to 7 days"),
        (["--test-to", NUMBER, "--text", "\udcff"], "bytes that are no characters"),
        (["--timeout", "0"], "equal to 1"),
        (["--test-to", NUMBER, "--text", " "], "1 to 1000 characters"),
        (["--surprise"], "--surprise"),
    ],
)
def test_a_wrong_command_line_is_exit_code_2(
    check: Truetick, sandbox: Sandbox, arguments: list[str], said: str
) -> None:
    answer = check(*arguments)

    assert answer.code == 2
    assert said in " ".join(answer.err.replace("│", " ").split())
    assert sandbox.requests() == []


def test_a_test_without_a_database_says_what_to_run(truetick: Truetick, sandbox: Sandbox) -> None:
    environment = {"WASENDER_BASE_URL": sandbox.api_url, "WASENDER_API_KEY": API_KEY}
    said = truetick("check", "--test-to", NUMBER, "--json", **environment)

    assert said.code == 1
    assert "There is no database" in said.err
    assert "truetick db upgrade" in said.err
    assert (said.json["proven"], said.json["test_message"]) == (False, None), "what is known is told all the same"
    assert said.json["error"]["message"] in said.err.replace("\n", " ")


def test_a_terminal_without_unicode_gets_plain_marks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check_page.display, "takes_unicode", lambda: False)

    assert {check_page.mark(verdict) for verdict in check_page.Verdict} == {"+", "X", "?", "-"}


def test_the_help_gives_examples_under_both_names(truetick: Truetick) -> None:
    other = "from worker.cli.app import check_whatsapp_connection as check; check()"
    alone = subprocess.run(
        [sys.executable, "-c", other, "--help"], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    for said in (truetick("check", "--help").out, alone.stdout):
        words = " ".join(said.split())
        assert "Example: truetick check --test-to" in words
        assert "Exit code 0 when sending is proven" in words


def test_the_other_name_says_by_its_exit_code_whether_sending_is_proven(
    parts: Parts, check: Truetick, at_work: None, sandbox: Sandbox, sqlite_url: str, tmp_path: Path
) -> None:
    program = "from worker.cli.app import check_whatsapp_connection as check; check()"
    environment = {
        **{"PATH": os.environ["PATH"], "DATABASE_URL": sqlite_url, "CELERY_BROKER_URL": NO_BROKER},
        **{"TRUETICK_VAR_DIR": str(tmp_path / "var"), "TRUETICK_SECRET_KEY": SECRET_KEY},
        **{"WASENDER_BASE_URL": sandbox.api_url, "WASENDER_API_KEY": API_KEY},
    }

    def other(*arguments: str) -> "subprocess.CompletedProcess[str]":
        command = [sys.executable, "-c", program, *arguments]
        return subprocess.run(
            command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60, check=False
        )

    unproven, proven, mistyped = other("--json"), other("--test-to", NUMBER, "--json"), other("--timeout", "soon")

    assert [unproven.returncode, proven.returncode, mistyped.returncode] == [1, 0, 2]
    assert [json.loads(said.stdout)["proven"] for said in (unproven, proven)] == [False, True]
    assert "'soon' is not a number" in " ".join(mistyped.stderr.split())
