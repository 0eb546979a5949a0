"""Wake-ups: a drain run is asked for at once, and those that nobody takes do not pile up in the broker."""

import time
from collections.abc import Callable

import pytest
from sqlalchemy import update

from crm_bridge.web.waking import ENOUGH, Waker
from tests.bridge.conftest import WebServer
from tests.real_servers import Valkey, wait_until
from worker.database import open_engine, transaction
from worker.domain.channel_state import ChannelState
from worker.models import Channel

DRAIN = "truetick.drain"


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_thousand_messages_without_a_worker_leave_a_handful_of_wake_ups(
    web_server: Callable[..., WebServer], database_url: str, broker: Valkey
) -> None:
    server = web_server(database_url)
    assert server.post("/api/messages", json={"to": "7033009600", "text": "first"}).status_code == 202
    engine = open_engine(database_url)
    with transaction(engine) as connection:
        connection.execute(update(Channel).values(state=ChannelState.UP))
    engine.dispose()

    began = time.monotonic()
    posted = 0
    while time.monotonic() - began < 3:
        assert server.post("/api/messages", json={"to": "7033009600", "text": f"{posted}"}).status_code == 202
        posted += 1

    wait_until(lambda: broker.client.llen(DRAIN) > 0, within_s=5, what="a wake-up")
    assert posted > 3 * ENOUGH
    assert broker.client.llen(DRAIN) <= ENOUGH  # type: ignore[operator]
    assert b'"expires": "' in broker.client.lindex(DRAIN, 0)  # type: ignore[operator]

    broker.client.flushall()
    assert server.post("/api/messages", json={"to": "7033009600", "text": "again"}).status_code == 202
    wait_until(lambda: broker.client.llen(DRAIN) == 1, within_s=5, what="a wake-up after the others were taken")

    broker.kill()
    broker.start()
    broker.client.flushall()

    def asked_again() -> bool:
        assert server.post("/api/messages", json={"to": "7033009600", "text": "on"}).status_code == 202
        return bool(broker.client.llen(DRAIN))

    wait_until(asked_again, within_s=10, what="a wake-up after the broker's return")


def test_what_is_asked_for_during_the_pause_is_asked_for_once_after_it() -> None:
    published: list[float] = []
    waker = Waker(lambda: published.append(time.monotonic()), pause_s=0.2)
    for _ in range(100):
        waker.wake()
        if not published:
            wait_until(lambda: bool(published), within_s=5, what="the first wake-up")

    wait_until(lambda: len(published) == 2, within_s=5, what="the one after the pause")
    assert published[1] - published[0] >= 0.2
