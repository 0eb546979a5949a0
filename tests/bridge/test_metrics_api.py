"""GET /metrics: the same standings as the status tells, as figures that Prometheus reads."""

from collections.abc import Callable
from typing import Any

import pytest
from flask.testing import FlaskClient
from prometheus_client.parser import text_string_to_metric_families

from tests.bridge.conftest import AUTHORIZED
from tests.conftest import API_KEY
from tests.drain.scene import Crm, drain
from wasender_sandbox.control import Sandbox
from worker import access_tokens, evidence, health
from worker.callbacks import endpoints
from worker.callbacks.endpoints import NewEndpoint
from worker.database import transaction
from worker.domain.access import Scope
from worker.parts import Parts


@pytest.fixture
def parts(database_url: str, build: Callable[..., Parts], sandbox: Sandbox) -> Parts:
    sandbox.create_channel("default", api_key=API_KEY, limit="none")
    return build(database_url)


def figures(client: FlaskClient) -> dict[tuple[str, ...], float]:
    """Name and the values of the labels, sorted by label: figure."""
    answer = client.get("/metrics", headers=AUTHORIZED)
    assert answer.status_code == 200
    assert answer.content_type.startswith("text/plain; version=")
    found = {}
    for family in text_string_to_metric_families(answer.text):
        for sample in family.samples:
            found[sample.name, *(value for _, value in sorted(sample.labels.items()))] = sample.value
    return found


def test_the_figures_tell_what_the_status_tells(client: FlaskClient, parts: Parts, sandbox: Sandbox) -> None:
    crm = Crm(parts, sandbox)
    crm.channels("default")
    crm.enqueue(["one", "two"])
    drain(parts)
    evidence.reconcile_messages(parts)
    sandbox.mute("default")
    crm.enqueue(["three"])
    drain(parts)
    sandbox.set_status("default", "need_scan")
    crm.set_channel("default", check_due_at=parts.clock())
    health.check_channels(parts)
    crm.enqueue(["four"])

    found = figures(client)

    (channel,) = client.get("/api/whatsapp/status", headers=AUTHORIZED).json["channels"]
    told = {
        "messages_pending": channel["pending"],
        "messages_unacked": channel["unacked"],
        "messages_in_doubt": channel["in_doubt"],
        "messages_attention": channel["attention"],
        "channel_unacked_window": channel["unacked_window"],
        "channel_posts_today": channel["posts_today"],
    }
    assert {name: found[f"truetick_{name}", "default"] for name in told} == told
    assert (channel["pending"], channel["unacked"], channel["ticks_by_asking"]) == (2, 1, 2)
    assert found["truetick_channel_state", "default", "down"] == 1
    assert sum(figure for key, figure in found.items() if key[0] == "truetick_channel_state") == 1
    assert found["truetick_channel_flowing", "default"] == 0
    assert found["truetick_channel_verified", "default"] == 1
    assert found["truetick_ticks_total", "default", "asking"] == 2
    assert found["truetick_ticks_total", "default", "webhook"] == 0
    assert found["truetick_channel_pace_messages_per_second", "default"] == 200
    assert found["truetick_channel_slowdown_ratio", "default"] == 1
    assert found["truetick_messages_last_hour", "default", "accepted"] == 3
    assert found["truetick_messages_last_hour", "default", "sent"] == 2
    assert 0 <= found["truetick_tick_latency_seconds", "default", "0.95"] < 60
    assert found["truetick_channel_last_tick_timestamp_seconds", "default"] == pytest.approx(
        parts.clock().timestamp(), abs=60
    )
    assert ("truetick_channel_last_webhook_timestamp_seconds", "default") not in found, "none has come"


def test_what_endpoints_were_not_told_is_counted(client: FlaskClient, parts: Parts) -> None:
    with transaction(parts.engine) as connection:
        endpoint = NewEndpoint(name="crm", address="https://crm.example/hook", secret_encrypted=None)
        endpoints.add(connection, endpoint, parts.clock())

    found = figures(client)

    assert found["truetick_callbacks", "crm", "waiting"] == 0
    assert found["truetick_callbacks", "crm", "parked"] == 0


def test_without_a_channel_the_page_is_whole(client: FlaskClient) -> None:
    assert [key[0] for key in figures(client)] == ["truetick_build_info"]


def test_the_figures_are_closed(client: FlaskClient, parts: Parts) -> None:
    def code(headers: dict[str, str]) -> Any:
        return client.get("/metrics", headers=headers).json["code"]

    with transaction(parts.engine) as connection:
        key = access_tokens.add(connection, "shop", frozenset({Scope.SEND}), now=parts.clock())

    assert code({}) == "no_api_key"
    assert code({"Authorization": "Bearer wrong"}) == "wrong_api_key"
    assert code({"Authorization": f"Bearer {key}"}) == "missing_scope"
