"""The client at a real broker: what it enqueues, and that it fails quickly, clearly and without a trace."""

import multiprocessing
import os
import pickle
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
import redis
from kombu.utils.json import loads

from crm_bridge import NotEnqueued, Truetick
from crm_bridge.broker_line import BrokerLine
from tests.drain.scene import Crm
from tests.live_stack import ROOT, LiveStack
from tests.real_servers import Valkey, wait_until

HELLO = {"to": "70330 09600", "text": "Hello"}
WITHIN_S = 1.5


@pytest.fixture
def truetick(broker: Valkey) -> Iterator[Truetick]:
    with Truetick(broker_url=broker.url) as truetick:
        yield truetick


def waiting(broker: Valkey) -> list[Any]:
    """The tasks in the queue, the oldest first: their ids and keyword arguments."""
    rows: Any = broker.client.lrange("celery", 0, -1)
    tasks = [loads(row) for row in rows[::-1]]
    return [(task["headers"]["id"], task["headers"]["task"], kwargs(task)) for task in tasks]


def kwargs(task: dict[str, Any]) -> dict[str, Any]:
    import base64

    given: dict[str, Any] = loads(base64.b64decode(task["body"]))[1]
    return given


@contextmanager
def refusing(broker: Valkey, how: str) -> Iterator[None]:
    """A broker in trouble, and well again afterwards."""
    if how == "dead":
        broker.kill()
        yield
        broker.start()
    elif how == "frozen":
        with broker.frozen():
            yield
    elif how == "full":
        broker.client.config_set("maxmemory", 1)
        yield
        broker.client.config_set("maxmemory", 0)
    else:
        broker.client.replicaof("127.0.0.1", 1)
        yield
        broker.client.replicaof("NO", "ONE")


def test_a_message_is_enqueued_under_the_id_that_is_returned(truetick: Truetick, broker: Valkey) -> None:
    message_id = truetick.send(to="70330 09600", text="Hello", crm_ref="4711")
    assert isinstance(message_id, UUID)
    given = {"to": "70330 09600", "text": "Hello", "crm_ref": "4711", "message_id": str(message_id)}
    assert waiting(broker) == [(str(message_id), "truetick.send_message", given)]


def test_the_callers_id_is_kept(truetick: Truetick) -> None:
    chosen = uuid4()
    assert truetick.send(**HELLO, message_id=chosen) == truetick.send(**HELLO, message_id=str(chosen)) == chosen


def test_what_can_be_no_message_enqueues_nothing(truetick: Truetick, broker: Valkey) -> None:
    for wrong in ({"to": "1"}, {"text": "Hello"}, HELLO | {"phone": "1"}):
        with pytest.raises(TypeError):
            truetick.send(**wrong)
    assert waiting(broker) == []


@pytest.mark.timed
@pytest.mark.parametrize("connected", ["warm", "cold"])
@pytest.mark.parametrize("trouble", ["dead", "frozen", "full", "read-only"])
def test_a_broker_in_trouble_is_told_within_a_second_and_a_half_and_has_taken_nothing(
    truetick: Truetick, broker: Valkey, trouble: str, connected: str
) -> None:
    before = [truetick.send(**HELLO)] if connected == "warm" else []
    chosen = uuid4()
    with refusing(broker, trouble):
        began = time.monotonic()
        with pytest.raises(NotEnqueued, match="Nothing was enqueued") as caught:
            truetick.send(**HELLO, message_id=chosen)
        took_s = time.monotonic() - began

    assert took_s < WITHIN_S
    assert (caught.value.perhaps_enqueued, caught.value.message_id) == (False, str(chosen))
    assert caught.value.__cause__ is None
    assert not {"Hello", "70330", str(broker.socket)} & set(str(caught.value).split())
    # Nothing appears late: what is enqueued next is all there is.
    after = truetick.send(**HELLO)
    assert [task[0] for task in waiting(broker)] == [str(one) for one in (*before, after)]


@contextmanager
def listening(backlog: int = 16) -> Iterator[int]:
    """A port at which somebody takes connections and never says anything."""
    with socket.create_server(("127.0.0.1", 0), backlog=backlog) as silent:
        yield silent.getsockname()[1]


@contextmanager
def swallowing() -> Iterator[int]:
    """A port that swallows every attempt to connect, as a firewall does: its queue is full, and nobody takes any."""
    with listening(backlog=0) as port, socket.create_connection(("127.0.0.1", port)):
        yield port


@contextmanager
def closed() -> Iterator[int]:
    """A port at which nobody listens."""
    with socket.socket() as kept:
        kept.bind(("127.0.0.1", 0))
        yield kept.getsockname()[1]


def told_within(url: str) -> tuple[float, NotEnqueued]:
    with Truetick(broker_url=url) as client:
        began = time.monotonic()
        with pytest.raises(NotEnqueued) as caught:
            client.send(**HELLO)
        return time.monotonic() - began, caught.value


@pytest.mark.timed
@pytest.mark.parametrize("place", [closed, listening, swallowing])
def test_a_server_on_the_network_that_does_not_answer_is_told_in_time(
    place: Callable[[], AbstractContextManager[int]],
) -> None:
    with place() as port:
        took_s, error = told_within(f"redis://127.0.0.1:{port}/0")
    assert took_s < WITHIN_S
    assert "does not answer. Nothing was enqueued" in str(error)
    assert not error.perhaps_enqueued


@pytest.mark.timed
def test_a_name_with_many_addresses_that_swallow_everything_costs_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    with swallowing() as port:
        one = socket.getaddrinfo("127.0.0.1", port, type=socket.SOCK_STREAM)
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_: one * 12)
        took_s, error = told_within(f"redis://many.example:{port}/0")
    assert took_s < WITHIN_S
    assert "Nothing was enqueued" in str(error)


@pytest.mark.timed
def test_a_resolver_that_hangs_costs_no_more_and_nothing_is_enqueued_when_it_comes_to_itself(
    tcp_broker: tuple[Valkey, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    broker, port = tcp_broker
    asked, again, real = threading.Event(), threading.Event(), socket.getaddrinfo

    def hang(_host: str, *rest: Any) -> Any:
        asked.set()
        again.wait(30)
        return real("127.0.0.1", *rest)

    monkeypatch.setattr(socket, "getaddrinfo", hang)
    ready = threading.active_count()
    try:
        took_s, error = told_within(f"redis://slow.example:{port}/0")
    finally:
        again.set()
    assert asked.is_set()
    assert took_s < WITHIN_S
    assert "Nothing was enqueued" in str(error)
    wait_until(lambda: threading.active_count() <= ready, within_s=10, what="the end of the publishing thread")
    assert waiting(broker) == []


@pytest.fixture
def tcp_broker(broker: Valkey) -> Iterator[tuple[Valkey, int]]:
    """The broker, with a port on the network for once."""
    with closed() as port:
        pass
    broker.client.config_set("port", port)
    yield broker, port
    broker.client.config_set("port", 0)


def test_a_wrong_password_is_called_that_and_not_a_broker_that_is_away(tcp_broker: tuple[Valkey, int]) -> None:
    broker, port = tcp_broker
    broker.client.config_set("requirepass", "right")
    try:
        errors = [told_within(f"redis://{who}127.0.0.1:{port}/0")[1] for who in (":wrong@", "")]
        with Truetick(broker_url=f"redis://:right@127.0.0.1:{port}/0") as client:
            client.send(**HELLO)
    finally:
        redis.Redis(unix_socket_path=str(broker.socket), password="right").config_set("requirepass", "")
    for error in errors:
        assert "keeps this user out. Nothing was enqueued" in str(error)
        assert "again later" not in str(error)
        assert not error.perhaps_enqueued
    assert len(waiting(broker)) == 1


@pytest.mark.timed
def test_many_threads_at_a_frozen_broker_are_all_told_in_time(truetick: Truetick, broker: Valkey) -> None:
    def send(_: int) -> float:
        began = time.monotonic()
        with pytest.raises(NotEnqueued):
            truetick.send(**HELLO)
        return time.monotonic() - began

    with ThreadPoolExecutor(30) as pool, broker.frozen():
        took = list(pool.map(send, range(30)))
    assert max(took) < WITHIN_S
    truetick.send(**HELLO)
    assert len(waiting(broker)) == 1


def test_a_broker_that_freezes_in_the_very_moment_may_have_taken_it_and_that_is_said(
    truetick: Truetick, broker: Valkey, monkeypatch: pytest.MonkeyPatch
) -> None:
    truetick.send(**HELLO)
    ask: Callable[..., None] = BrokerLine._ask
    frozen = broker.frozen()

    def ask_then_freeze(producer: Any) -> None:
        ask(producer)
        frozen.__enter__()

    monkeypatch.setattr(BrokerLine, "_ask", staticmethod(ask_then_freeze))
    try:
        with pytest.raises(NotEnqueued, match="the same message_id") as caught:
            truetick.send(**HELLO)
    finally:
        frozen.__exit__(None, None, None)
        monkeypatch.undo()
    assert caught.value.perhaps_enqueued
    again = truetick.send(**HELLO, message_id=caught.value.message_id)
    # It did take it: both tasks carry one id, so they are one message.
    assert [task[2]["message_id"] for task in waiting(broker)][1:] == [str(again)] * 2


def test_threads_share_a_client(truetick: Truetick, broker: Valkey) -> None:
    with ThreadPoolExecutor(20) as pool:
        sent = list(pool.map(lambda _: truetick.send(**HELLO), range(200)))
    assert {task[0] for task in waiting(broker)} == {str(one) for one in sent}
    assert len(set(sent)) == 200


def test_a_forked_child_has_connections_of_its_own(truetick: Truetick, broker: Valkey) -> None:
    truetick.send(**HELLO)
    context = multiprocessing.get_context("fork")
    children = [context.Process(target=lambda: [truetick.send(**HELLO) for _ in range(20)]) for _ in range(4)]
    for child in children:
        child.start()
    for _ in range(20):
        truetick.send(**HELLO)
    for child in children:
        child.join(20)
    assert [child.exitcode for child in children] == [0] * 4
    assert len({task[0] for task in waiting(broker)}) == 101


def test_the_crms_own_celery_settings_do_not_reach_it(broker: Valkey, tmp_path: Path) -> None:
    (tmp_path / "crm_celery.py").write_text("task_serializer = 'pickle'\ntask_default_queue = 'crm'\n")
    code = f"from crm_bridge import Truetick; Truetick({broker.url!r}).send(to='70330 09600', text='Hello')"
    environment = os.environ | {
        "PYTHONPATH": str(tmp_path),
        "CELERY_CONFIG_MODULE": "crm_celery",
        "CELERY_BROKER_URL": "redis://127.0.0.1:9/0",
        "CELERY_BROKER_WRITE_URL": "redis://127.0.0.1:9/0",
        "CELERY_RESULT_BACKEND": "redis://127.0.0.1:9/1",
    }
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, check=True, timeout=30)
    assert len(waiting(broker)) == 1


def test_the_crms_current_celery_app_stays_its_own(truetick: Truetick) -> None:
    from celery import Celery, current_app

    crm = Celery("crm")
    crm.set_current()
    truetick.send(**HELLO)
    assert current_app.main == "crm"


def run_without(libraries: set[str], code: str) -> str:
    """What a program says where these are not installed."""
    blocked = f"""
import sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {libraries!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}")
sys.meta_path.insert(0, Blocked())
"""
    done = subprocess.run(
        [sys.executable, "-c", blocked + code], cwd=ROOT, capture_output=True, text=True, timeout=30, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_it_needs_celery_and_nothing_else_of_ours() -> None:
    code = """
from crm_bridge import NotEnqueued, Truetick
Truetick(broker_url="redis://127.0.0.1:9/0")
try:
    Truetick(broker_url="redis://127.0.0.1:9/0").send(to="7033009600", text="Hello")
except NotEnqueued:
    print("fine")
"""
    ours = {"sqlalchemy", "flask", "apiflask", "phonenumbers", "worker", "pydantic", "structlog", "requests"}
    assert run_without(ours, code) == "fine\n"


@pytest.mark.parametrize(
    "url",
    [
        *("redis://:top/secret@broker:6379/0", "rediss://broker:6379/0"),
        *("redis+socket:///var/broker/valkey.sock?virtual_host=0", "sentinel://broker:26379"),
    ],
)
def test_where_the_library_for_redis_is_missing_it_says_what_to_install(url: str) -> None:
    code = f"""
from crm_bridge import Truetick
try:
    Truetick(broker_url={url!r})
except ImportError as error:
    print(error)
"""
    told = run_without({"redis"}, code)
    assert told == "the library for redis:// is missing: pip install 'celery[redis]'\n"


def test_a_missing_library_for_another_broker_is_said_too() -> None:
    code = """
from crm_bridge import Truetick
Truetick(broker_url="amqp://broker")
try:
    Truetick(broker_url="sqs://key:secret@")
except ImportError as error:
    print(error)
"""
    told = run_without({"redis", "boto3", "botocore"}, code)
    assert "install Celery with the extra for it" in told
    assert "secret" not in told


@pytest.mark.parametrize("url", ["", "localhost:6379", "nonsense://x", "redis://:top/secret@broker:6379/0", None])
def test_an_address_that_is_none_is_refused_without_being_shown(url: Any) -> None:
    with pytest.raises(ValueError, match="broker_url") as caught:
        Truetick(broker_url=url)
    assert "secret" not in str(caught.value)


def test_it_shows_neither_the_brokers_address_nor_its_password() -> None:
    truetick = Truetick(broker_url="redis://:secret@broker.example:6379/0")
    assert "broker.example" not in repr(truetick)
    assert "secret" not in f"{truetick!r} {vars(truetick)!r}"


def test_the_error_travels_between_processes() -> None:
    error = NotEnqueued("Nothing was enqueued.", message_id="x", perhaps_enqueued=True)
    again = pickle.loads(pickle.dumps(error))
    assert (str(again), again.message_id, again.perhaps_enqueued) == ("Nothing was enqueued.", "x", True)


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_worker_takes_it_and_whatsapp_ticks_it_once(
    environment: dict[str, str], crm: Crm, truetick: Truetick, tmp_path: Path
) -> None:
    with LiveStack(tmp_path, environment) as stack:
        stack.worker("worker")
        stack.until_ready("worker")
        stack.beat()
        message_id = truetick.send(to="70330 09600", text="Hello {{name}}", values={"name": "Asha"})
        truetick.send(to="70330 09600", text="Hello Asha", message_id=message_id)
        refused = truetick.send(to="12", text="Hello")
        wait_until(
            lambda: (
                {str(row.id): row.state.value for row in crm.messages()}.get(str(message_id)) not in {None, "queued"}
            ),
            within_s=20,
            what="the message's sending",
        )
        wait_until(lambda: len(crm.messages()) == 2, within_s=20, what="the second message")
    assert crm.texts() == ["Hello Asha"]
    states = {row.id: (row.state.value, row.error_code) for row in crm.messages()}
    assert states[refused] == ("failed", "too_short")
