"""GET /api/whatsapp/status: the states of the channels, how fresh they are, what to do, and what waits."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from apiflask import APIFlask
from flask.testing import FlaskClient

from crm_bridge.web import answers, create_app
from tests.bridge.conftest import AUTHORIZED
from tests.conftest import API_KEY
from tests.drain.scene import Crm, drain
from tests.real_servers import wait_until
from wasender_sandbox.control import Sandbox
from worker import evidence, health
from worker.channels import registry, states
from worker.database import transaction
from worker.parts import Parts


@pytest.fixture
def parts(sqlite_url: str, build: Callable[..., Parts], sandbox: Sandbox) -> Parts:
    """What is read is compared on each database where it is read: see the tests of the overview and of the rates."""
    sandbox.create_channel("default", api_key=API_KEY, limit="none")
    return build(sqlite_url)


def status_of(client: FlaskClient) -> dict[str, Any]:
    answer = client.get("/api/whatsapp/status", headers=AUTHORIZED)
    answers.WhatsappStatus.model_validate(answer.json)
    assert answer.status_code == 200
    found: dict[str, Any] = answer.json
    return found


def test_without_a_channel_nothing_is_up(client: FlaskClient) -> None:
    assert status_of(client) == {
        "channels": [],
        "all_up": False,
        "all_flowing": False,
        "pending": 0,
        "unacked": 0,
        "in_doubt": 0,
        "attention": 0,
    }


def test_a_connected_channel_is_up_and_verified(client: FlaskClient, parts: Parts) -> None:
    health.check_channels(parts)

    (channel,) = status_of(client)["channels"]

    assert (channel["name"], channel["state"], channel["reason"]) == ("default", "up", "connected")
    assert (channel["verified"], channel["action"], channel["pace"]) == (True, None, "200/1")


def test_a_channel_whose_phone_is_gone_says_so_and_what_to_do(
    client: FlaskClient, parts: Parts, sandbox: Sandbox
) -> None:
    sandbox.set_status("default", "need_scan")
    health.check_channels(parts)
    client.post("/api/messages", json={"to": "7033009600", "text": "Hello"}, headers=AUTHORIZED)

    status = status_of(client)

    (channel,) = status["channels"]
    assert (channel["state"], channel["reason"], channel["pending"]) == ("down", "need_scan", 1)
    assert "QR code" in channel["action"]
    assert (status["all_up"], status["pending"]) == (False, 1)


def test_a_state_that_nobody_confirmed_lately_is_not_vouched_for(app: APIFlask, parts: Parts) -> None:
    health.check_channels(parts)
    later = replace(parts, clock=lambda: parts.clock() + timedelta(minutes=5))

    status = status_of(create_app(later).test_client())

    (channel,) = status["channels"]
    assert (channel["state"], channel["last_known_state"]) == ("unverified", "up"), "never the last green"
    assert (channel["verified"], status["all_up"]) == (False, False)
    assert channel["verified_at"] == channel["checked_at"]
    assert "worker" in channel["action"]


def test_a_wasender_that_does_not_answer_is_told_from_a_worker_that_is_missing(
    app: APIFlask, parts: Parts, sandbox: Sandbox
) -> None:
    health.check_channels(parts)
    later = replace(parts, clock=lambda: parts.clock() + timedelta(minutes=5))
    unreachable = replace(
        later, gateway=type(parts.gateway)("http://127.0.0.1:9/api", connect_timeout_s=1, read_timeout_s=1)
    )
    health.check_channels(unreachable)

    (channel,) = status_of(create_app(later).test_client())["channels"]

    assert not channel["verified"]
    assert "WASENDER_BASE_URL" in channel["action"]


def test_a_channel_without_a_key_does_not_count_against_the_others(client: FlaskClient, parts: Parts) -> None:
    parts.settings.gateway_api_key = None
    health.check_channels(parts)

    status = status_of(client)

    (channel,) = status["channels"]
    assert (channel["state"], channel["reason"], status["all_up"]) == ("blocked", "no_api_key", False)
    assert "WASENDER_API_KEY" in channel["action"]


def test_a_paused_channel_says_how_it_is_resumed(client: FlaskClient, parts: Parts) -> None:
    health.check_channels(parts)
    with transaction(parts.engine) as connection:
        states.pause(connection, registry.channel_id(connection, "default"), now=parts.clock())

    (channel,) = status_of(client)["channels"]

    assert channel["state"] == "paused"
    assert "truetick channels resume default" in channel["action"]


def test_a_channel_that_is_down_says_so_even_when_nobody_has_looked_for_a_while(
    app: APIFlask, parts: Parts, sandbox: Sandbox
) -> None:
    sandbox.set_status("default", "logged_out")
    health.check_channels(parts)
    later = replace(parts, clock=lambda: parts.clock() + timedelta(minutes=5))

    (channel,) = status_of(create_app(later).test_client())["channels"]

    assert (channel["state"], channel["reason"], channel["verified"]) == ("down", "logged_out", False)


def test_each_channel_tells_how_well_it_delivers(
    client: FlaskClient, parts: Parts, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evidence, "RUN_S", 0.3)
    sandbox.switch("ack_after_s", 0)
    crm = Crm(parts, sandbox)
    crm.channels("default")
    health.check_channels(parts)
    crm.enqueue(["one", "two", "three"])
    drain(parts)
    wait_until(lambda: len(sandbox.ledger(acked=True)) == 3, within_s=5, what="the ticks")
    crm.set_message(1, next_check_at=parts.clock())
    evidence.reconcile_messages(parts)

    (channel,) = status_of(client)["channels"]

    hour, day = channel["rates"]["hour"], channel["rates"]["day"]
    assert (hour["accepted"], hour["failed"], day["accepted"]) == (3, 0, 3)
    assert hour["sent"] >= 1
    assert hour["tick_median_s"] <= hour["tick_p95_s"]
    assert hour["per_minute"] == 0.05
