"""The example CRMs as real processes before a real Truetick: a button is pressed, the page says what became of it."""

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
import requests
from typer.main import get_command

from tests.celery.conftest import crm, environment
from tests.drain.scene import Crm
from tests.live_stack import ROOT, LiveStack
from tests.real_servers import Valkey, wait_until
from worker.cli.app import app
from worker.stack.ports import free_port

__all__ = ["crm", "environment"]

KEY = "a-key-for-the-example"
SECRET = "whsec_" + "c2VjcmV0LW9mLXRoZS1leGFtcGxlLWNybS0zMi1ieXQ="
COMMANDS = {
    "flask": ["examples/flask_crm/app.py"],
    "django": ["examples/django_crm/manage.py", "start", "--port"],
}
GREETING = "Hello Asha Rao, your order is ready."


class Example:
    """One example CRM, as a person with a browser sees it."""

    def __init__(self, kind: str, settings: dict[str, str], folder: Path) -> None:
        self.port = free_port()
        self.log = folder / f"{kind}.log"
        self._folder = folder
        self._settings = settings
        self._kind = kind
        self._browser = requests.Session()

    @contextmanager
    def running(self, command: Sequence[str] = ()) -> Iterator[None]:
        """Started as this command does it, if one is given."""
        port = [str(self.port)] if self._kind == "django" else []
        with self.log.open("ab") as log:
            process = subprocess.Popen(
                command or [sys.executable, *COMMANDS[self._kind], *port],
                cwd=ROOT,
                env=self._environment,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        try:
            wait_until(lambda: self._answers(process), within_s=30, what="the example's first page")
            yield
        finally:
            process.kill()
            process.wait()

    @property
    def _environment(self) -> dict[str, str]:
        own = {"CRM_PORT": str(self.port), "CRM_DATABASE": str(self._folder / "crm.db")}
        return {"PATH": os.environ["PATH"], **self._settings, **own}

    def follow(self) -> None:
        """Django's command for the change feed."""
        command = [sys.executable, "examples/django_crm/manage.py", "follow"]
        subprocess.run(command, cwd=ROOT, env=self._environment, check=True, timeout=60)

    def press(self, customer: int) -> None:
        token = re.search(r'csrfmiddlewaretoken" value="(\w+)"', self.page())
        form = {"csrfmiddlewaretoken": token[1]} if token else {}
        answer = self._browser.post(f"{self._url}/customers/{customer}/greet", data=form, timeout=20)
        assert answer.ok, self.log.read_text()

    def page(self) -> str:
        return self._browser.get(f"{self._url}/", timeout=20).text

    def status(self, customer: int) -> str:
        row = self.page().split(f'id="customer-{customer}"')[1]
        found = re.search(r'class="status">([^<]*)<', row)
        assert found
        return found[1]

    def tell(self, body: str, **headers: str) -> int:
        """A callback from a stranger."""
        return requests.post(f"{self._url}/truetick/callbacks", data=body, headers=headers, timeout=20).status_code

    @property
    def callbacks(self) -> str:
        return f"{self._url}/truetick/callbacks"

    @property
    def _url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def _answers(self, process: "subprocess.Popen[bytes]") -> bool:
        assert process.poll() is None, self.log.read_text()
        try:
            return requests.get(self._url, timeout=5).ok
        except requests.RequestException:
            return False


@pytest.fixture
def web_port() -> int:
    return free_port()


@pytest.fixture
def example(environment: dict[str, str], web_port: int, tmp_path: Path) -> Callable[..., Example]:
    def make(kind: str, **more: str) -> Example:
        settings = {
            "CELERY_BROKER_URL": environment["CELERY_BROKER_URL"],
            "TRUETICK_URL": f"http://127.0.0.1:{web_port}",
            "TRUETICK_API_KEY": KEY,
            "TRUETICK_CALLBACK_SECRET": SECRET,
            "CRM_FOLLOW_EVERY_S": "0",
        }
        return Example(kind, settings | more, tmp_path)

    return make


@contextmanager
def truetick(environment: dict[str, str], folder: Path, web_port: int, **more: str) -> Iterator[LiveStack]:
    """A whole Truetick: workers, beat and the HTTP API."""
    with LiveStack(folder, environment | {"TRUETICK_API_KEYS": KEY} | more) as stack:
        stack.worker("worker")
        stack.beat()
        stack.web(web_port)
        stack.until_ready("worker")
        url = f"http://127.0.0.1:{web_port}/healthz"

        def answers() -> bool:
            try:
                return requests.get(url, timeout=5).ok
            except requests.RequestException:
                return False

        wait_until(answers, within_s=30, what="the HTTP API's first answer")
        yield stack


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize("kind", COMMANDS)
def test_a_greeting_is_followed_to_its_ticks_by_signed_callbacks(
    kind: str,
    example: Callable[..., Example],
    environment: dict[str, str],
    crm: Crm,
    web_port: int,
    tmp_path: Path,
) -> None:
    page = example(kind)
    told = {"TRUETICK_CALLBACK_URL": page.callbacks, "TRUETICK_CALLBACK_SECRET": SECRET}
    with page.running(), truetick(environment, tmp_path, web_port, **told):
        page.press(1)
        wait_until(lambda: page.status(1) in {"sent", "delivered", "read"}, within_s=40, what="the tick on the page")
        assert page.status(2) not in {"sent", "delivered", "read"}

        forged = {"webhook-id": "x", "webhook-timestamp": "1", "webhook-signature": "v1,AAAA"}
        assert page.tell('{"type": "message.status"}') == 400
        assert page.tell('{"type": "message.status"}', **forged) == 400
    assert crm.texts() == [GREETING]


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize("kind", COMMANDS)
def test_a_crm_that_was_down_or_has_no_callbacks_learns_all_from_the_change_feed(
    kind: str,
    example: Callable[..., Example],
    environment: dict[str, str],
    crm: Crm,
    web_port: int,
    tmp_path: Path,
) -> None:
    page = example(kind)
    with truetick(environment, tmp_path, web_port):
        with page.running():
            page.press(1)
            assert page.status(1) == "pending"
        ticked = {"sent", "delivered", "read"}
        wait_until(lambda: set(crm.states()) & ticked, within_s=40, what="the tick in the ledger")
        again = example(kind, CRM_FOLLOW_EVERY_S="0.2")
        if kind == "django":
            again.follow()
        with again.running():
            wait_until(lambda: again.status(1) in ticked, within_s=20, what="the tick on the page")
    assert crm.texts() == [GREETING]


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize("kind", COMMANDS)
def test_what_cannot_be_handed_over_is_said_and_the_next_press_sends_it_once(
    kind: str,
    example: Callable[..., Example],
    environment: dict[str, str],
    crm: Crm,
    broker: Valkey,
    web_port: int,
    tmp_path: Path,
) -> None:
    page = example(kind)
    with page.running():
        broker.kill()
        page.press(1)
        assert page.status(1) == "not handed over"
        assert "Please try again" in page.page()
        broker.start()
        with truetick(environment, tmp_path, web_port):
            page.press(1)
            wait_until(lambda: len(crm.texts()) == 1, within_s=40, what="the message's sending")
    assert crm.texts() == [GREETING]


@pytest.mark.parametrize("kind", COMMANDS)
def test_the_commands_of_its_readme_can_be_typed_and_start_it(kind: str, tmp_path: Path) -> None:
    readme = (ROOT / "examples" / f"{kind}_crm" / "README.md").read_text()
    (block,) = re.findall(r"^```sh\n(.*?)^```$", readme, re.MULTILINE | re.DOTALL)
    for typed in re.findall(r"`truetick ([^`]+)`", readme):
        words = shlex.split(typed)
        command, path = get_command(app), []
        while hasattr(command, "commands") and words:
            path.append(words.pop(0))
            command = command.commands[path[-1]]
        command.make_context(" ".join(path), words)
    page = Example(kind, {}, tmp_path)
    values = {
        "TRUETICK_API_KEY": KEY,
        "TRUETICK_CALLBACK_SECRET": SECRET,
        "CELERY_BROKER_URL": "redis://127.0.0.1:9/0",
    }
    for name, value in values.items():
        block = block.replace(f"export {name}=… ", f"export {name}={value} ")
    assert "…" not in block.replace("# …", "")
    # Its own port and this interpreter; all else as it stands.
    block = block.replace("manage.py start", f"manage.py start --port {page.port}")
    block = block.replace("\npython ", f"\nexec {shlex.quote(sys.executable)} ")
    with page.running(["bash", "-euc", block]):
        assert "Asha Rao" in page.page()
