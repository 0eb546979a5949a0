"""The sandbox's own webhooks, delivered to a real web server: nothing secret is kept of them, and nothing lost."""

import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
import requests
from sqlalchemy import Engine, select

from tests.bridge.conftest import WebServer
from tests.conftest import API_KEY
from tests.real_servers import Valkey, wait_until
from wasender_sandbox.control import Sandbox
from worker.database import open_engine
from worker.domain.text_digest import text_digest
from worker.models import Base, WebhookFact

SECRET = "5f4dcc3b5aa765d61d8327deb882cf99"
TO = "+917033009600"
Listening = Callable[..., WebServer]


@pytest.fixture
def listening(web_server: Callable[..., WebServer], sandbox: Sandbox, database_url: str) -> Listening:
    """A web server with the webhook secret, and a channel of the sandbox's that delivers to it."""

    def start(**switches: object) -> WebServer:
        server = web_server(database_url, WASENDER_WEBHOOK_SECRET=SECRET)
        sandbox.create_channel(
            "default",
            api_key=API_KEY,
            limit="none",
            webhook_url=f"http://127.0.0.1:{server.port}/webhooks/wasender/default",
            webhook_secret=SECRET,
        )
        for name, value in {"webhook_retry_after_s": 0.1, "read_fraction": 1.0, **switches}.items():
            sandbox.switch(name, value)
        return server

    return start


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    engine = open_engine(database_url)
    yield engine
    engine.dispose()


def send(sandbox: Sandbox, words: str) -> None:
    answer = requests.post(
        f"{sandbox.api_url}/send-message",
        json={"to": TO, "text": words},
        headers={"Authorization": f"Bearer {API_KEY}"},
        timeout=10,
    )
    assert answer.json()["success"] is True


def facts(engine: Engine) -> Sequence[Any]:
    with engine.connect() as connection:
        return connection.execute(select(WebhookFact.__table__).order_by(WebhookFact.id)).all()


def acks(engine: Engine) -> list[int]:
    return sorted(row.said["ack"] for row in facts(engine) if row.kind == "tick")


def all_that_is_stored(engine: Engine) -> str:
    with engine.connect() as connection:
        return str([connection.execute(select(table)).all() for table in Base.metadata.sorted_tables])


@pytest.mark.parametrize(
    "switches",
    [
        {},
        {
            "update_shape": "array",
            "update_status_type": "word",
            "upsert_shape": "object",
            "webhook_remote_jid": "lid",
        },
    ],
    ids=["as documented", "as seen"],
)
def test_all_that_a_message_fires_is_stored_and_nothing_secret_of_it(
    listening: Listening, sandbox: Sandbox, engine: Engine, broker: Valkey, switches: dict[str, Any]
) -> None:
    server = listening(**switches)

    send(sandbox, "Your parcel is here")
    wait_until(lambda: acks(engine) == [2, 3, 4], within_s=20, what="three ticks")
    sandbox.set_status("default", "need_scan")
    wait_until(lambda: len(facts(engine)) == 6, within_s=10, what="two facts of sending and one of the session")

    [entry] = sandbox.ledger()
    found = facts(engine)
    assert {row.whatsapp_key_id for row in found if row.kind != "session"} == {entry.key_id}
    digests = [row.said["text_digest"] for row in found if row.kind == "sent"]
    assert digests == [text_digest("Your parcel is here")] * 2
    assert found[-1].said == {"word": "need_scan"}
    assert sandbox.state()["webhooks"]["failed_attempts"] == 0
    wake_ups = str(broker.client.lrange("truetick.upkeep", 0, -1))
    assert "hear_webhooks" in wake_ups
    everything = all_that_is_stored(engine) + server.log.read_text() + wake_ups
    for secret in (API_KEY, SECRET, "Your parcel"):
        assert secret not in everything


def test_a_webhook_is_answered_within_milliseconds_also_without_a_broker(
    listening: Listening, engine: Engine, broker: Valkey
) -> None:
    server = listening()
    broker.kill()
    line = requests.Session()
    took_s = []
    for number in range(60):
        entry = {"update": {"status": 2}, "key": {"id": f"3EB0{number}", "remoteJid": TO}}
        begun = time.perf_counter()
        answer = line.post(
            f"http://127.0.0.1:{server.port}/webhooks/wasender/default",
            json={"event": "messages.update", "sessionId": API_KEY, "data": entry},
            headers={"X-Webhook-Signature": SECRET},
            timeout=10,
        )
        took_s.append(time.perf_counter() - begun)
        assert answer.json() == {"received": True}

    assert len(facts(engine)) == 60
    print(f"median {statistics.median(took_s) * 1000:.1f} ms, longest {max(took_s) * 1000:.1f} ms")  # noqa: T201
    assert statistics.median(took_s) < 0.1
