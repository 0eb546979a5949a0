"""Why, cancel, resend, pause and resume over HTTP."""

from typing import Any
from uuid import UUID, uuid4

import pytest
from flask.testing import FlaskClient
from sqlalchemy import update
from werkzeug.test import TestResponse

from crm_bridge.web import answers, composed_answers, waking
from tests.bridge.conftest import AUTHORIZED
from tests.real_servers import wait_until
from worker import health
from worker.celery_app import app as celery
from worker.channels import registry, states
from worker.database import transaction
from worker.domain.channel_state import KEY_ROTATION
from worker.domain.message_status import MessageState
from worker.models import Message
from worker.parts import Parts


def send(client: FlaskClient, **more: Any) -> str:
    answer = client.post("/api/messages", json={"to": "7033009600", "text": "Hello"} | more, headers=AUTHORIZED)
    return str(answer.json["id"])


def decide(client: FlaskClient, message_id: object, what: str) -> TestResponse:
    return client.post(f"/api/messages/{message_id}/{what}", headers=AUTHORIZED)


def becomes(parts: Parts, message_id: str, **values: Any) -> None:
    with transaction(parts.engine) as connection:
        connection.execute(update(Message).where(Message.id == UUID(message_id)).values(**values))


def test_why_tells_the_causes_whose_turn_it_is_and_what_to_do(client: FlaskClient, parts: Parts) -> None:
    health.check_channels(parts)
    message_id = send(client)
    client.post("/api/channels/default/pause", headers=AUTHORIZED)

    answer = client.get(f"/api/messages/{message_id}/why", headers=AUTHORIZED)

    told = composed_answers.Explanation.model_validate(answer.json)
    assert (told.message.id, told.whose_turn) == (UUID(message_id), "person")
    assert "truetick channels resume default" in str(told.action)
    assert any("paused" in cause for cause in told.because)
    assert (told.messages_ahead, told.channel.state) == (0, "paused")


def test_a_message_is_withdrawn_once_and_asking_again_changes_nothing(client: FlaskClient) -> None:
    message_id = send(client)

    first, second = decide(client, message_id, "cancel"), decide(client, message_id, "cancel")

    assert (first.status_code, second.status_code) == (200, 200)
    assert answers.Message.model_validate(first.json).status == "cancelled"
    history = client.get(f"/api/messages/{message_id}", headers=AUTHORIZED).json
    assert [event["after"] for event in history["events"]] == ["queued", "cancelled"]
    assert decide(client, message_id, "resend").json["code"] == "cannot_resend"


def test_what_whatsapp_has_cannot_be_withdrawn(client: FlaskClient, parts: Parts) -> None:
    message_id = send(client)
    becomes(parts, message_id, state=MessageState.SENT)

    answer = decide(client, message_id, "cancel")

    assert (answer.status_code, answer.json["code"]) == (409, "cannot_cancel")
    assert "WhatsApp has it" in answer.json["detail"]


def test_a_failed_message_is_sent_again_and_a_worker_is_woken(
    client: FlaskClient, parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    woken: list[str] = []
    monkeypatch.setattr(waking, "_publish", lambda task, *_, **__: woken.append(task))
    message_id = send(client)
    becomes(parts, message_id, state=MessageState.FAILED, error_code="gateway_failed", error_message="It failed.")

    answer = decide(client, message_id, "resend")

    told = answers.Message.model_validate(answer.json)
    assert (answer.status_code, told.state, told.resends) == (200, "queued", 1)
    wait_until(lambda: woken[-1:] == ["truetick.drain"], within_s=5, what="the wake-up")


@pytest.mark.parametrize("what", ["cancel", "resend"])
def test_a_decision_about_nothing_is_404_and_about_no_id_422(sqlite_client: FlaskClient, what: str) -> None:
    assert decide(sqlite_client, uuid4(), what).status_code == 404
    assert decide(sqlite_client, "17", what).json["code"] == "bad_message_id"


def test_a_channel_is_paused_and_resumed_and_then_checked_at_once(
    client: FlaskClient, parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    published: list[str] = []
    monkeypatch.setattr(celery, "send_task", lambda name, **_: published.append(name))
    health.check_channels(parts)

    paused = client.post("/api/channels/default/pause", headers=AUTHORIZED)
    resumed = client.post("/api/channels/default/resume", headers=AUTHORIZED)
    again = client.post("/api/channels/default/resume", headers=AUTHORIZED)

    assert answers.Channel.model_validate(paused.json).state == "paused"
    assert answers.Channel.model_validate(resumed.json).state == "unknown"
    assert (again.status_code, again.json["code"]) == (409, "conflict")
    wait_until(lambda: "truetick.check_channels" in published, within_s=5, what="the check")
    (listed,) = client.get("/api/channels", headers=AUTHORIZED).json["channels"]
    assert (listed["name"], listed["state"]) == ("default", "unknown")


def test_a_channel_whose_key_is_being_replaced_is_not_resumed(client: FlaskClient, parts: Parts) -> None:
    with transaction(parts.engine) as connection:
        channel_id = registry.ensure_default(connection, parts.settings.pace, parts.clock())
        states.pause(connection, channel_id, now=parts.clock(), reason=KEY_ROTATION)
    refused = client.post("/api/channels/default/resume", headers=AUTHORIZED)
    assert (refused.status_code, refused.json["code"]) == (409, "key_rotation")


def test_the_default_channel_can_be_paused_before_a_worker_has_made_it(sqlite_client: FlaskClient) -> None:
    paused = sqlite_client.post("/api/channels/default/pause", headers=AUTHORIZED)
    assert (paused.status_code, paused.json["state"]) == (200, "paused")


@pytest.mark.parametrize("name", ["nowhere", "%00", "a%0ab", "x" * 300])
@pytest.mark.parametrize("what", ["pause", "resume"])
def test_a_channel_that_does_not_exist_is_404(client: FlaskClient, name: str, what: str) -> None:
    answer = client.post(f"/api/channels/{name}/{what}", headers=AUTHORIZED)

    assert (answer.status_code, answer.json["code"]) == (404, "unknown_channel")
