"""Steering: bad input, reset, the command line, the page, and the process itself."""

import json
import random
import signal
import subprocess
import sys
import time
from html.parser import HTMLParser
from typing import Any

import pytest
from requests import get, post, request
from typer.testing import CliRunner

from wasender_sandbox.cli import app
from wasender_sandbox.control import Sandbox, SandboxError
from wasender_sandbox.errors import ControlError
from wasender_sandbox.process import SandboxProcess
from wasender_sandbox.recipients import mask, read_recipient
from wasender_sandbox.server import announce
from wasender_sandbox.settings import read_spec
from wasender_sandbox.spans import Span


@pytest.mark.parametrize(
    ("method", "path", "body", "sentence"),
    [
        ("POST", "switches", {"teleport": 1}, "no switch named 'teleport'. Known switches: accept_when_down"),
        ("POST", "switches", {"rate_reset": "moon"}, "rate_reset must be one of delta, epoch"),
        ("POST", "switches", {"text_max": "long"}, "text_max is a number"),
        ("POST", "switches", {"deduplicate": "perhaps"}, "deduplicate is on or off"),
        ("POST", "switches", {"ack_after_s": "soon"}, "not a time"),
        ("POST", "switches", [1], "must be a JSON object"),
        ("POST", "channels", {}, "needs a name"),
        ("POST", "channels", {"name": "sales"}, "already a channel named 'sales'"),
        ("POST", "channels", {"name": "other", "api_key": "sales-key"}, "already has this API key"),
        ("POST", "channels", {"name": "a/b"}, "not a channel name"),
        ("POST", "channels", {"name": "x", "limit": "fast"}, "messages/seconds"),
        ("POST", "channels", {"name": "x", "colour": 1}, "no setting 'colour'. Settings: limit"),
        ("POST", "channels", {"name": "x", "plan": "gold"}, "paid or trial"),
        ("POST", "channels", {"name": "x", "daily_cap": "many"}, "whole number"),
        ("POST", "channels", {"name": "x", "webhook_events": "all"}, "list of event names"),
        ("POST", "channels/nobody/scan", {}, "no channel named 'nobody'. Channels: sales"),
        ("POST", "channels/sales/status", {"status": "asleep"}, "no status 'asleep'"),
        ("POST", "channels/sales/mute", {"then": "never"}, "later, failed, stuck"),
        ("POST", "channels/sales/inbound", {"text": "hi"}, "needs from"),
        ("POST", "latency", {"before": -1}, "not a time"),
        ("POST", "webhooks", {"lost": 2}, "from 0 to 1"),
        ("POST", "webhooks", {"eaten": 1}, "no trouble 'eaten'"),
        ("POST", "faults", {"kind": "error", "colour": 1}, "colour"),
        ("POST", "recipients", {"rich": ["1"]}, "no recipient rule named 'rich'"),
        ("POST", "recipients", {"not_on_whatsapp_pattern": "["}, "not a regular expression"),
        ("GET", "ledger?colour=1", None, "no filter 'colour'"),
        ("GET", "ledger?after=x", None, "whole number"),
    ],
)
def test_bad_input_is_answered_with_a_sentence(
    sandbox: Sandbox, method: str, path: str, body: object, sentence: str
) -> None:
    answer = request(method, f"{sandbox.base_url}/_sandbox/{path}", json=body, timeout=5)

    assert answer.status_code == 400
    assert sentence in answer.json()["error"]
    assert [row["name"] for row in sandbox.channels()] == ["sales"], "nothing half-done stays behind"


def test_the_client_raises_the_sentence(sandbox: Sandbox) -> None:
    with pytest.raises(SandboxError, match="Known switches"):
        sandbox.switch("teleport", 1)
    with pytest.raises(SandboxError, match="No sandbox answers"):
        Sandbox("http://127.0.0.1:9").state()


def test_reset_forgets_everything(sandbox: Sandbox, caller: Any) -> None:
    caller.accept()
    sandbox.fault("error")
    sandbox.switch("rate_reset", "epoch")
    sandbox.latency(before=1)
    sandbox.webhooks(lost=1)
    sandbox.recipients(never_ticked="1234567")

    sandbox.reset()

    state = sandbox.state()
    assert (state["channels"], state["faults"], state["accepted"], state["attempts"]) == ([], [], 0, 0)
    assert state["switches"]["rate_reset"] == "delta"
    assert state["latency"]["before"] == "0"
    assert state["recipients"]["never_ticked"] == []
    assert sandbox.ledger() == []


def test_every_switch_explains_itself_and_takes_its_own_value(empty: Sandbox) -> None:
    switches = empty.switches()

    assert len(switches) > 50
    for row in switches:
        assert row["meaning"]
        empty.switch(row["name"], row["value"])
        for choice in row["choices"]:
            empty.switch(row["name"], choice)


def test_channels_change_and_go(sandbox: Sandbox, caller: Any) -> None:
    row = sandbox.change_channel("sales", api_key="other-key", limit="2/10", limit_mode="spacing")
    assert (row["limit"], row["limit_mode"]) == ("2/10", "spacing")
    assert caller.send().status_code == 401

    sandbox.delete_channel("sales")
    assert sandbox.channels() == []


def test_spans_recipients_and_masks() -> None:
    rng = random.Random(1)
    assert Span.parse("0.1-0.3").draw(rng) == pytest.approx(0.2, abs=0.1)
    assert Span.parse([1, 2]) == Span(1, 2)
    for nonsense in ("2-1", "-1", True, None, [1, 2, 3]):
        with pytest.raises(ControlError):
            Span.parse(nonsense)
    assert mask("+919876543210") == "+919•••••••10"
    assert mask("12345@g.us") == "••••@g.us"
    found = read_recipient("919876543210@c.us")
    assert found is not None
    assert found.jid == "919876543210@s.whatsapp.net"


def test_channel_specifications() -> None:
    spec = "name=sales,key=k,limit=1/5,status=need_scan,webhook=http://x/y,secret=s,webhook_events=a|b"
    assert read_spec(spec) == {
        "name": "sales",
        "api_key": "k",
        "limit": "1/5",
        "status": "need_scan",
        "webhook_url": "http://x/y",
        "webhook_secret": "s",
        "webhook_events": ["a", "b"],
    }
    for nonsense in ("sales", "key=k"):
        with pytest.raises(ControlError):
            read_spec(nonsense)


def _run(sandbox: Sandbox, *words: str, code: int = 0) -> Any:
    result = CliRunner().invoke(app, [*words, "--url", sandbox.base_url])
    assert result.exit_code == code, result.output
    return json.loads(result.output) if "--json" in words else result.output


def test_the_command_line_steers(sandbox: Sandbox, caller: Any) -> None:
    assert _run(sandbox, "down", "sales", "--as", "logged_out", "--says", "connected", "--json")["status"] == (
        "logged_out"
    )
    assert caller.get("/status").json() == {"status": "connected"}
    assert "says connected" in _run(sandbox, "down", "sales", "--as", "need_scan", "--says", "connected")
    assert _run(sandbox, "scan", "sales", "--json")["status"] == "connected"
    assert _run(sandbox, "mute", "sales", "--then", "stuck", "--json")["muted"] is True
    assert _run(sandbox, "unmute", "sales", "--json")["muted"] is False
    assert _run(sandbox, "up", "sales") == "sales: connected\n"
    assert _run(sandbox, "fault", "reset", "--when", "after", "--count", "1", "--json")[0]["left"] == 1
    assert "reset" in _run(sandbox, "fault")
    assert _run(sandbox, "fault", "--clear") == "Faults cleared: 1.\n"
    assert _run(sandbox, "latency", "--before", "0-0.01", "--json") == {"ok": True}
    assert _run(sandbox, "webhooks", "--lost", "0.5", "--json")["emitted"] == 0
    assert _run(sandbox, "switch", "rate_reset", "epoch", "--json")[0]["value"] == "epoch"
    assert "update_shape" in _run(sandbox, "switch", "update_shape")
    caller.accept("Hello")
    assert _run(sandbox, "ledger", "--json")[0]["text"] == "Hello"
    assert "9876543210" not in _run(sandbox, "ledger"), "numbers are masked"
    assert _run(sandbox, "status", "--json")["accepted"] == 1
    assert "sales" in _run(sandbox, "status")
    assert _run(sandbox, "reset", "--json") == {"ok": True}


def test_the_command_line_says_what_is_wrong(sandbox: Sandbox) -> None:
    assert "no channel named 'nobody'" in _run(sandbox, "scan", "nobody", code=1)
    assert "Known switches" in _run(sandbox, "switch", "teleport", "1", code=1)
    assert "no switch named" in _run(sandbox, "switch", "teleport", code=1)


@pytest.mark.parametrize("command", [c.name or c.callback.__name__ for c in app.registered_commands if c.callback])
def test_every_command_has_help_with_an_example(command: str) -> None:
    result = CliRunner().invoke(app, [command, "--help"])

    assert result.exit_code == 0
    assert "Example" in result.output


class _Page(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.forms: list[str] = []
        self.loaded: list[str] = []
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag == "form":
            assert given["method"] == "post"
            self.forms.append(given["action"] or "")
        if tag in {"script", "img", "link", "iframe"}:
            self.loaded.append(tag)
        if tag not in {"meta", "br", "link", "img", "input"}:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_explains_itself_and_its_buttons_work(sandbox: Sandbox, caller: Any) -> None:
    caller.accept("<b>Hello</b>")
    sandbox.set_status("sales", "need_scan")
    text = get(sandbox.base_url, timeout=5).text
    page = _Page(text)

    assert "nothing here reaches WhatsApp" in text
    assert page.open == []
    assert page.loaded == [], "no scripts, no outside files"
    assert "&lt;b&gt;Hello" in text
    assert "9876543210" not in text, "numbers are masked"
    assert page.forms == ["/act/sales/scan", "/act/sales/mute"]

    answer = post(f"{sandbox.base_url}/act/sales/scan", timeout=5)
    assert "connected" in answer.text, "back on the page"
    assert sandbox.channel("sales")["status"] == "connected"
    for action, field, value in (
        ("mute", "muted", True),
        ("unmute", "muted", False),
        ("down", "status", "need_scan"),
        ("up", "status", "connected"),
    ):
        post(f"{sandbox.base_url}/act/sales/{action}", timeout=5)
        assert sandbox.channel("sales")[field] == value
    assert post(f"{sandbox.base_url}/act/sales/explode", timeout=5).status_code == 404
    assert 'http-equiv="refresh"' in get(f"{sandbox.base_url}/?live", timeout=5).text


def test_the_page_of_an_empty_sandbox(empty: Sandbox) -> None:
    assert "Nothing was sent yet" in get(empty.base_url, timeout=5).text


def test_the_process_announces_itself_starts_with_channels_and_stops_quickly() -> None:
    spec = "name=sales,key=k,limit=1/5,status=need_scan"
    with SandboxProcess(["--channel", spec, "--pat", "7|token"]) as running:
        line = running.output().splitlines()[-1]
        assert line == f"Sandbox WaSender on {running.api_url} (control: {running.base_url}/)"
        assert running.control.channel("sales")["status"] == "need_scan"
        headers = {"Authorization": "Bearer 7|token"}
        assert get(f"{running.api_url}/auth-check", headers=headers, timeout=5).status_code == 200
        running.control.fault("hang")
        running.control.scan("sales")
        hanging = subprocess.Popen(
            [
                sys.executable,
                "-c",
                "import sys, requests; requests.post(sys.argv[1], json={'to': '+919876543210', 'text': 'a'},"
                " headers={'Authorization': 'Bearer k'}, timeout=20)",
                f"{running.api_url}/send-message",
            ],
            stderr=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + 10
        while running.control.channel("sales")["in_flight"] == 0:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        began = time.monotonic()
        running.stop()
        assert time.monotonic() - began < 1, "even with a request under way"
        hanging.wait(10)


@pytest.mark.parametrize("name", [signal.SIGTERM, signal.SIGINT])
def test_signals_end_it_cleanly(name: signal.Signals) -> None:
    child = subprocess.Popen(
        [sys.executable, "-m", "wasender_sandbox", "run", "--port", "0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert child.stdout is not None
    assert child.stdout.readline().startswith("Sandbox WaSender on http://127.0.0.1:")
    child.send_signal(name)
    _out, errors = child.communicate(timeout=5)

    assert child.returncode == 0
    assert errors == ""


@pytest.mark.parametrize(("host", "warned"), [("127.0.0.1", 0), ("localhost", 0), ("0.0.0.0", 1), ("myhost", 1)])
def test_it_warns_loudly_when_others_can_reach_it(capsys: pytest.CaptureFixture[str], host: str, warned: int) -> None:
    announce(host, "http://example:1")

    printed = capsys.readouterr()
    assert printed.err.count("WARNING: the sandbox listens on") == warned
    assert printed.out == "Sandbox WaSender on http://example:1/api (control: http://example:1/)\n"


def test_a_taken_port_is_explained(process: SandboxProcess) -> None:
    port = process.base_url.rsplit(":", 1)[1]

    with pytest.raises(RuntimeError, match="in use"), SandboxProcess(port=int(port)):
        pass
