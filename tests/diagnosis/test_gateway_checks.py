"""What WaSender can be wrong in, or we about it: reachability, keys, tokens, limits, logs, clocks, webhooks."""

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import requests
from pydantic import SecretStr

from tests.conftest import API_KEY
from tests.diagnosis.conftest import OPTIONS, TOKEN, Line, Ward
from tests.drain.scene import Crm
from tests.live_stack import ROOT
from tests.truth.stage import Stage
from wasender_sandbox.control import Sandbox
from worker import health
from worker.channels import states
from worker.database import transaction
from worker.diagnosis import examination, judging_setup, troubleshooting
from worker.diagnosis.diagnoser import Diagnoser
from worker.diagnosis.facts import Trouble
from worker.diagnosis.guide import entry_for
from worker.diagnosis.inquiries import Inquiries
from worker.domain.errors import NotFound
from worker.gateway.webhooks import EVENTS
from worker.parts import Parts

Build = Callable[..., Parts]


def test_a_healthy_installation_has_nothing_to_complain_of(ward: Ward, tick_one: Callable[[], None]) -> None:
    tick_one()

    findings = ward.diagnose().findings

    assert {finding.verdict.value for finding in findings} <= {"ok", "skipped"}, findings
    assert [finding.check for finding in findings][:2] == ["api_reachable", "api_key"]


@pytest.mark.parametrize(
    ("fault", "options", "code"),
    [
        ("html", {"status": 520}, "gateway_error"),
        ("error", {"status": 503}, "gateway_error"),
        ("reset", {}, "connection_lost"),
        ("hang", {}, "timeout"),
        ("answer", {"status": 200, "body": "<html>Welcome to nginx</html>"}, "unreadable_answer"),
        ("answer", {"status": 404, "body": "<html>Not found</html>"}, "wrong_gateway_address"),
    ],
)
def test_a_wasender_in_trouble_is_told_from_a_session_in_trouble(
    ward: Ward, sandbox: Sandbox, fault: str, options: dict[str, object], code: str
) -> None:
    sandbox.fault(fault, endpoint="status", **options)  # type: ignore[arg-type]

    findings = ward.findings()

    assert (findings["api_reachable"].verdict, findings["api_reachable"].code) == ("failed", code)
    assert "last good answer" in findings["api_reachable"].evidence
    assert findings["session_connected"].verdict == "ok", "a worker has heard so lately"


def test_a_wasender_that_cannot_be_reached_says_where_it_was_looked_for(ward: Ward, parts: Parts) -> None:
    gone = replace(parts, gateway=type(parts.gateway)("http://127.0.0.1:9/api", connect_timeout_s=1))

    finding = Ward(gone).findings()["api_reachable"]

    assert (finding.verdict, finding.code) == ("failed", "gateway_unreachable")
    assert "http://127.0.0.1:9/api" in finding.evidence


def test_a_bad_key_is_named_and_never_shown(ward: Ward, parts: Parts) -> None:
    parts.settings.gateway_api_key = SecretStr("0b" * 32)

    diagnosis = ward.diagnose()
    findings = {finding.check: finding for finding in diagnosis.findings}

    assert (findings["api_key"].verdict, findings["api_key"].code) == ("failed", "bad_key")
    assert (findings["session_connected"].verdict, findings["sending_proven"].verdict) == ("unverified", "failed")
    assert findings["api_reachable"].verdict == "ok"
    assert "0b0b" not in str(diagnosis.as_json())


def test_an_access_token_in_the_keys_place_is_recognised(ward: Ward, parts: Parts) -> None:
    parts.settings.gateway_api_key = SecretStr(TOKEN)

    finding = ward.findings()["api_key"]

    assert (finding.verdict, finding.code) == ("failed", "wrong_credential")
    assert "personal access token" in finding.evidence
    assert TOKEN not in str(finding)


def test_a_lapsed_subscription_is_not_taken_for_a_bad_key(ward: Ward, stage: Stage) -> None:
    stage.sandbox.switch("subscription_active", False)
    stage.crm.enqueue(["refused"])
    stage.send()

    assert ward.found("session_connected") == ("ok", "connected"), "which is asked for without one"
    assert ward.found("api_key") == ("failed", "no_subscription")
    assert ward.found("sending_proven") == ("failed", "no_subscription")


def test_without_a_key_here_the_workers_word_counts_while_it_is_fresh(ward: Ward, parts: Parts, stage: Stage) -> None:
    parts.settings.gateway_api_key = None

    findings = ward.findings()
    assert [findings[check].verdict for check in ("api_reachable", "api_key", "session_connected")] == ["ok"] * 3
    assert "worker" in findings["api_key"].evidence

    stage.pass_time(600)
    findings = ward.findings()
    assert [findings[check].verdict.value for check in ("api_key", "session_connected")] == ["unverified"] * 2


def test_a_blocked_channel_whose_key_is_elsewhere_does_not_pretend_that_nobody_asked(
    ward: Ward, parts: Parts, stage: Stage
) -> None:
    parts.settings.gateway_api_key = None
    stage.crm.set_channel("default", state="blocked", reason="bad_key")

    findings = ward.findings()

    assert (findings["session_connected"].verdict, findings["session_connected"].code) == (
        "unverified",
        "key_refused",
    )
    assert (findings["api_key"].verdict, findings["api_key"].code) == ("failed", "bad_key")


def test_an_installation_without_any_key_is_not_proven(ward: Ward, parts: Parts, stage: Stage) -> None:
    parts.settings.gateway_api_key = None
    stage.pass_time(60)
    health.check_channels(parts)

    diagnosis = ward.diagnose()

    assert ward.found("api_key") == ("failed", "no_api_key")
    assert not diagnosis.proven
    assert "no channel with an API key" in diagnosis.summary


def test_a_channel_whose_key_cannot_be_read_here_says_which_secret_is_missing(
    sqlite_url: str, build: Build, parts: Parts, sandbox: Sandbox
) -> None:
    Crm(parts, sandbox).channels("sales", pace="1/5")
    elsewhere = build(sqlite_url, **OPTIONS, TRUETICK_SECRET_KEY=None)

    finding = Ward(elsewhere).findings(channel="sales")["api_key"]

    assert (finding.verdict, finding.code) == ("unverified", "no_secret_key")
    assert "TRUETICK_SECRET_KEY" in (finding.remedy or "")


# With a personal access token


@pytest.fixture
def tokened(sqlite_url: str, build: Build, stage: Stage) -> Ward:
    return Ward(build(sqlite_url, **OPTIONS, WASENDER_PERSONAL_ACCESS_TOKEN=TOKEN))


def test_the_token_tells_of_logs_and_limits(tokened: Ward, sandbox: Sandbox) -> None:
    sandbox.change_channel("default", log_messages=True)
    assert tokened.found("access_token") == ("ok", "accepted")
    assert tokened.found("message_logging") == ("ok", "on")

    sandbox.change_channel("default", log_messages=False)
    assert tokened.found("message_logging") == ("failed", "off")


def test_a_pace_that_account_protection_does_not_allow_fails(
    sqlite_url: str, build: Build, stage: Stage, sandbox: Sandbox
) -> None:
    stage.crm.set_channel("default", pace_messages=256, pace_seconds=60)
    ward = Ward(build(sqlite_url, **OPTIONS, WASENDER_PERSONAL_ACCESS_TOKEN=TOKEN))
    assert ward.found("limits") == ("ok", "within")

    session = f"{sandbox.api_url}/whatsapp-sessions/{sandbox.channel('default')['id']}"
    owner = {"Authorization": f"Bearer {TOKEN}"}
    assert requests.put(session, json={"account_protection": True}, headers=owner, timeout=5).ok
    assert ward.found("limits") == ("failed", "protected")
    assert Ward(stage.parts).found("limits") == ("unverified", "not_told")

    stage.crm.set_channel("default", slowdown=2.0)
    assert ward.found("limits") == ("failed", "slowed_down")


def test_a_pace_above_the_highest_limit_is_lowered_by_what_the_remedy_says(
    sqlite_url: str, build: Build, stage: Stage, sandbox: Sandbox
) -> None:
    stage.crm.channels("sales", limit="none", pace="300/60")
    ward = Ward(build(sqlite_url, **OPTIONS, WASENDER_PERSONAL_ACCESS_TOKEN=TOKEN))

    finding = ward.findings(channel="sales")["limits"]
    _, entry = entry_for(finding.check, finding.code)

    assert (finding.verdict, finding.code) == ("failed", "too_fast")
    assert "truetick channels set-pace sales 256/60" in (finding.remedy or "")
    assert "truetick channels set-pace {name} 1/5" in " ".join(entry.steps)


def test_the_same_events_are_wanted_wherever_people_are_told_to_set_webhooks_up(
    sqlite_url: str, build: Build, stage: Stage
) -> None:
    finding = Ward(build(sqlite_url, **OPTIONS, WASENDER_WEBHOOK_SECRET="a-secret")).findings()["webhooks"]
    docs = (ROOT / "docs" / "operate.md").read_text()
    _, entry = entry_for("webhooks", "never")
    for told in (finding.remedy or "", " ".join(entry.steps), docs):
        assert [event for event in EVENTS if event not in told] == []
    # Without this one nobody's STOP is heard.
    assert "messages-personal.received" in EVENTS


def test_without_any_key_a_gateway_that_can_be_reached_is_told_from_one_that_answers(
    build: Build, tmp_path: Path, sandbox: Sandbox
) -> None:
    nowhere = build(f"sqlite:///{tmp_path}/nowhere.db", **(OPTIONS | {"WASENDER_API_KEY": None}))
    finding = Ward(nowhere).findings()["api_reachable"]
    assert (finding.verdict, finding.code) == ("unverified", "nothing_to_ask_with")
    assert "WASENDER_API_KEY" in (finding.remedy or "")


@pytest.mark.parametrize(("skew_s", "said"), [(90.0, "ahead of"), (-90.0, "behind")])
def test_a_database_whose_clock_is_off_is_noticed(ward: Ward, skew_s: float, said: str) -> None:
    facts = examination.examine(ward.parts, ward.line, Inquiries(), channel=None)  # type: ignore[arg-type]
    assert not isinstance(facts.database, Trouble)
    finding = judging_setup.clock(replace(facts, database=replace(facts.database, skew_s=skew_s)))
    assert (finding.verdict, finding.code) == ("failed", "database_off")
    assert said in finding.evidence


def test_a_session_key_in_the_tokens_place_is_recognised(sqlite_url: str, build: Build, stage: Stage) -> None:
    ward = Ward(build(sqlite_url, **OPTIONS, WASENDER_PERSONAL_ACCESS_TOKEN=API_KEY))

    finding = ward.findings()["access_token"]

    assert (finding.verdict, finding.code) == ("failed", "bad_access_token")
    assert "more like a session's key" in finding.evidence


def test_whoever_asks_about_one_channel_after_the_other_asks_for_the_account_once(
    tokened: Ward, sandbox: Sandbox, stage: Stage
) -> None:
    stage.crm.channels("sales")
    diagnoser = Diagnoser(tokened.parts, Line())  # type: ignore[arg-type]
    asked: list[None] = []
    sessions = tokened.parts.account.sessions  # type: ignore[union-attr]

    def counted() -> object:
        asked.append(None)
        return sessions()

    tokened.parts.account.sessions = counted  # type: ignore[union-attr,assignment,method-assign]
    for name in ("default", "sales", None):
        diagnoser.diagnose(channel=name)
    for name in ("nowhere", "else"):
        with pytest.raises(NotFound):
            diagnoser.diagnose(channel=name)

    assert len(asked) == 1


def test_another_accounts_token_knows_nothing_of_our_session(tokened: Ward, sandbox: Sandbox, stage: Stage) -> None:
    stage.crm.set_channel("default", gateway_session_id=None)
    sandbox.change_channel("default", api_key="77" * 32)

    assert tokened.found("message_logging") == ("unverified", "session_not_found")


# Clocks, numbers, webhooks


def test_a_clock_that_is_off_by_minutes_is_noticed(ward: Ward, sandbox: Sandbox) -> None:
    assert ward.found("clock") == ("ok", "agree")

    sandbox.switch("clock_skew_s", -420)

    finding = ward.findings()["clock"]
    assert (finding.verdict, finding.code) == ("failed", "gateway_off")
    assert "7 min behind" in finding.evidence


def test_refused_numbers_are_counted_by_what_is_wrong_with_them(ward: Ward, stage: Stage) -> None:
    stage.crm.enqueue(["good"] * 8)
    assert ward.found("number_format") == ("ok", "understood")
    for seq in range(1, 7):
        stage.crm.set_message(seq, state="failed", error_code="too_short" if seq < 6 else "lid")

    finding = ward.findings()["number_format"]

    assert (finding.verdict, finding.code) == ("failed", "too_short")
    assert "5 too few digits, 1 a LID" in finding.evidence
    assert "DEFAULT_REGION" in (finding.remedy or "")


def test_webhooks_that_stopped_or_never_came_are_told_apart_from_none_set_up(
    sqlite_url: str, build: Build, ward: Ward, stage: Stage
) -> None:
    now = stage.parts.clock()
    assert ward.found("webhooks") == ("skipped", "not_set_up")
    listening = Ward(build(sqlite_url, **OPTIONS, WASENDER_WEBHOOK_SECRET="s" * 32))
    assert listening.found("webhooks") == ("unverified", "none_yet")
    stage.crm.set_channel("default", last_tick_at=now)
    assert listening.found("webhooks") == ("failed", "never")
    stage.crm.set_channel("default", last_webhook_at=now)
    assert listening.found("webhooks") == ("ok", "arriving")
    stage.pass_time(3600)
    stage.crm.set_channel("default", last_tick_at=stage.parts.clock())
    assert listening.found("webhooks") == ("failed", "stopped")


def test_a_webhook_secret_that_cannot_be_decrypted_is_told_with_what_to_do(ward: Ward, stage: Stage) -> None:
    stage.crm.set_channel("default", webhook_secret_encrypted="sealed with another key")
    assert ward.found("webhooks") == ("unverified", "secret_unusable")
    stage.crm.set_channel("default", last_tick_at=stage.parts.clock())

    finding = ward.findings()["webhooks"]

    assert (finding.verdict, finding.code) == ("failed", "secret_unusable")
    assert "truetick channels set-webhook-secret default" in (finding.remedy or "")
    stage.crm.set_channel("default", last_webhook_at=stage.parts.clock())
    assert ward.found("webhooks") == ("ok", "arriving"), "whoever hears them can decrypt it"


# Bounds


def test_nothing_that_hangs_can_hold_the_diagnosis_up(
    ward: Ward, stage: Stage, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(examination, "WITHIN_S", 0.6)
    patient = replace(stage.parts, gateway=type(stage.parts.gateway)(sandbox.api_url, question_timeout_s=30))
    sandbox.fault("hang", endpoint="status")
    begun = time.monotonic()

    finding = Ward(patient).findings()["api_reachable"]

    assert time.monotonic() - begun < 2
    assert (finding.verdict, finding.code) == ("failed", "timeout")


def test_of_many_channels_wasender_is_asked_about_a_few_and_the_ill_are_listed(
    ward: Ward, stage: Stage, sandbox: Sandbox
) -> None:
    names = [f"channel-{index:02}" for index in range(25)]
    stage.crm.channels(*names, pace="1/5")
    stage.check()
    sandbox.mute("channel-24")
    stage.crm.set_channel("channel-24", state="mute", reason="no_ticks")
    stage.pass_time(30)
    stage.check()

    diagnosis = ward.diagnose()

    assert len(diagnosis.channels) == 26
    listed = {finding.channel for finding in diagnosis.findings if finding.channel}
    assert len(listed) == 20
    assert "channel-24" in listed, "it failed; of the others it is only not known whether they send"
    assert diagnosis.left_out == 6


@pytest.mark.parametrize("paused", [False, True])
def test_a_default_channel_without_a_key_fails_only_while_messages_wait_for_it(
    ward: Ward, parts: Parts, stage: Stage, paused: bool
) -> None:
    parts.settings.gateway_api_key = None
    stage.crm.channels("sales", pace="1/5", window=1)
    stage.pass_time(60)
    health.check_channels(parts)
    stage.crm.enqueue(["Hello"], channel="sales")
    stage.send()
    stage.ticks(1)
    stage.pass_time(2.5)
    stage.ask()
    if paused:
        with transaction(parts.engine) as connection:
            states.pause(connection, stage.crm.channel().id, now=parts.clock())
    diagnosis = ward.diagnose()
    assert diagnosis.proven, diagnosis.summary
    assert troubleshooting.troubleshoot(diagnosis) == []

    stage.crm.enqueue(["to nowhere"])
    stage.pass_time(60)
    health.check_channels(parts)
    diagnosis = ward.diagnose()

    assert not diagnosis.proven
    on_default = {finding.check: finding for finding in diagnosis.findings if finding.channel == "default"}
    for name in ("api_key", "sending_proven"):
        assert (on_default[name].verdict, on_default[name].code) == ("failed", "no_api_key")
        assert "one message waits" in on_default[name].evidence
        assert "WASENDER_API_KEY" in str(on_default[name].remedy)
    assert troubleshooting.troubleshoot(diagnosis)[0].entry.title == "There is no API key"
