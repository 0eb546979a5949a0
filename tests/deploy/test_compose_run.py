"""docker-compose.yml in action, without Docker: each service's own command and healthcheck on real servers, and one
message from HTTP to a tick."""

import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
import requests
from sqlalchemy import make_url

from tests.deploy import compose
from tests.deploy.compose import Local
from tests.real_servers import Postgres, wait_until
from worker.stack.ports import free_port

FOR_SANDBOX = {
    "WASENDER_BASE_URL": "http://sandbox:8900/api",
    "TRUETICK_CHECK_INTERVAL_S": "1",
    "TRUETICK_RECONCILE_INTERVAL_S": "1",
}
#: A loaded machine starts six interpreters at once.
UP_WITHIN_S = 60


@pytest.fixture
def ports() -> dict[str, int]:
    return {name: free_port() for name in ("web", "flower", "sandbox", "valkey")}


@pytest.fixture
def deployment(
    postgres: Postgres, secrets_given: dict[str, str], ports: dict[str, int], tmp_path: Path
) -> Iterator[Local]:
    described = compose.services(secrets_given | FOR_SANDBOX)
    with postgres.database(migrated=False) as url:
        folder = Path(tempfile.mkdtemp(prefix="tt-deploy-"))
        local = Local(folder, described, _places(url, ports, described["web"]["environment"]["DATABASE_URL"]))
        try:
            yield local
        finally:
            local.close()
            shutil.rmtree(folder, ignore_errors=True)


def _places(url: str, ports: dict[str, int], inside: str) -> dict[str, str]:
    """Addresses inside Docker, and what stands for them here; the longer ones first."""
    here = "127.0.0.1"
    return {
        inside: make_url(url).set(drivername="postgresql").render_as_string(hide_password=False),
        "valkey:6379": f"{here}:{ports['valkey']}",
        "sandbox:8900": f"{here}:{ports['sandbox']}",
        "web:5000": f"{here}:{ports['web']}",
        "0.0.0.0": here,
        "5000": str(ports["web"]),
        "5555": str(ports["flower"]),
        "8900": str(ports["sandbox"]),
    }


def test_every_service_comes_up_and_a_message_goes_from_http_to_a_tick(
    deployment: Local, ports: dict[str, int], secrets_given: dict[str, str]
) -> None:
    local = deployment
    data = local.folder / "data"
    data.mkdir()
    broker = redis.Redis(port=ports["valkey"], password=secrets_given["VALKEY_PASSWORD"])

    local.start("valkey", "--port", str(ports["valkey"]), "--bind", "127.0.0.1", "--dir", str(data))
    wait_until(lambda: _pings(broker), within_s=10, what="the broker's first answer")
    assert local.start("migrate").wait(timeout=60) == 0, local.log("migrate")
    for name in ("sandbox", "web", "worker", "beat", "flower"):
        local.start(name)
    for name in ("sandbox", "web", "flower", "worker", "beat"):
        wait_until(lambda name=name: _is_healthy(local, name), within_s=UP_WITHIN_S, what=f"{name}'s health")

    key = {"Authorization": f"Bearer {secrets_given['TRUETICK_API_KEYS']}"}
    web = f"http://127.0.0.1:{ports['web']}"
    sent = requests.post(f"{web}/api/messages", json={"to": "7033009600", "text": "Hi"}, headers=key, timeout=10)
    assert sent.status_code == 202, sent.text

    def ticked() -> bool:
        message: dict[str, Any] = requests.get(web + sent.headers["Location"], headers=key, timeout=10).json()
        return message["status"] in {"sent", "delivered", "read"}

    wait_until(ticked, within_s=30, what="WhatsApp's tick")
    status = local.run("web", "truetick", "status")
    assert status.returncode == 0, status.stdout + status.stderr

    flower = f"http://127.0.0.1:{ports['flower']}/api/workers"
    assert requests.get(flower, timeout=10).status_code == 401
    assert requests.get(flower, auth=("truetick", secrets_given["FLOWER_PASSWORD"]), timeout=10).ok
    assert broker.config_get("maxmemory-policy")["maxmemory-policy"] == "noeviction"
    assert broker.config_get("appendonly")["appendonly"] == "yes"

    for name in ("flower", "beat", "worker", "web", "sandbox", "valkey"):
        assert local.stop(name) in {0, -15}, f"{name}: {local.log(name)[-2000:]}"
    assert os.listdir(local.work) == [], "the containers' file systems are read-only"
    told = "".join(local.log(name) for name in ("web", "worker", "beat", "flower", "migrate"))
    assert not [secret for secret in secrets_given.values() if secret in told]
    assert "7033009600" not in told


def _is_healthy(local: Local, name: str) -> bool:
    """Each look is a program of its own, which takes the processor from those that start: seldom is sooner."""
    if not local.healthy(name):
        time.sleep(0.5)
        return False
    return True


def _pings(broker: redis.Redis) -> bool:
    try:
        return bool(broker.ping())
    except redis.RedisError:
        return False
