"""A CRM, a channel that has been up for a while, and the schedules in the test's hand, on each database in turn."""

import threading
from collections.abc import Callable, Iterator
from datetime import timedelta

import pytest
from werkzeug.serving import make_server

from crm_bridge.web import application
from tests.drain.scene import Crm
from tests.real_servers import wait_until
from tests.truth import stage as staging
from tests.truth.stage import TOKEN, Stage
from wasender_sandbox.control import Sandbox
from worker.parts import Parts

__all__ = ["OPTIONS", "SECRET", "TOKEN"]

SECRET = "5f4dcc3b5aa765d61d8327deb882cf99"
OPTIONS = staging.OPTIONS | {"WASENDER_WEBHOOK_SECRET": SECRET}


@pytest.fixture
def options() -> dict[str, object]:
    """Settings that a test module wants otherwise."""
    return {}


@pytest.fixture
def parts(database_url: str, build: Callable[..., Parts], sandbox: Sandbox, options: dict[str, object]) -> Parts:
    staging.set_up(sandbox)
    return build(database_url, **(OPTIONS | options))


@pytest.fixture
def crm(parts: Parts, sandbox: Sandbox) -> Crm:
    crm = Crm(parts, sandbox)
    crm.channels("default", window=1)
    return crm


@pytest.fixture
def stage(crm: Crm) -> Stage:
    """The channel has been up for an hour."""
    stage = Stage(crm)
    stage.pass_time(timedelta(hours=1).total_seconds())
    return stage


@pytest.fixture
def webhooks(parts: Parts, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """The web application listens, and the sandbox tells it what happens. Nobody hears it before `Stage.hear`.

    Gives what is set when the application wakes a worker.
    """
    wake_up = threading.Event()
    monkeypatch.setattr(application, "publish_hearing", wake_up.set)
    server = make_server("127.0.0.1", 0, application.create_app(parts), threaded=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    url = f"http://127.0.0.1:{server.server_port}/webhooks/wasender/default"
    sandbox.change_channel("default", webhook_url=url, webhook_secret=SECRET)
    yield wake_up
    server.shutdown()
    thread.join(10)
    server.server_close()


@pytest.fixture
def hearing(stage: Stage, webhooks: threading.Event) -> Callable[[int], None]:
    """So many webhooks have come by now, and what they say is heard."""

    def hear(events: int) -> None:
        wait_until(lambda: stage.delivered() >= events, within_s=5, what=f"{events} webhooks")
        stage.hear()

    return hear
