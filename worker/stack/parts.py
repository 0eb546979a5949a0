"""The parts of the one-machine stack as child processes: what each is called, how it runs, when it is ready."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from worker.settings import Settings
from worker.stack.child import ChildSpec
from worker.stack.kept_keys import kept_key
from worker.stack.probes import http_answers

LOOPBACK = "127.0.0.1"
#: The folder that `worker` is imported from: children find it from any working directory.
SOURCE = Path(__file__).resolve().parent.parent.parent
#: The web application and its server's worker, named only: this side never imports them.
WEB_APP = "crm_bridge.web:create_app()"
WEB_WORKER = "crm_bridge.web.server_worker.ServerWorker"
WEB_THREADS = 16
#: A worker may be in the middle of a POST; it gets the time to hear the answer.
WORKER_GRACE_S = 40.0


@dataclass(frozen=True, kw_only=True)
class Addresses:
    """Where the parts listen."""

    web_host: str = LOOPBACK
    web_port: int = 5000
    sandbox_port: int = 8900
    #: None: Flower does not run.
    flower_port: int | None = None


def migration(environment: Mapping[str, str]) -> ChildSpec:
    return ChildSpec(name="db", command=_cli("db", "upgrade"), environment=environment)


def worker_child(environment: Mapping[str, str]) -> ChildSpec:
    return ChildSpec(
        name="worker",
        command=[*_celery("worker"), "--without-mingle", "--without-gossip"],  # for many; this one is alone
        environment=environment,
        grace_s=WORKER_GRACE_S,
    )


def beat_child(environment: Mapping[str, str]) -> ChildSpec:
    return ChildSpec(name="beat", command=_celery("beat"), environment=environment)


def flower_child(settings: Settings, port: int, environment: Mapping[str, str]) -> ChildSpec:
    """Its password stands in a file: its pages are open to everybody on this machine otherwise."""
    password = kept_key(flower_key_file(settings), size=12)
    return ChildSpec(
        name="flower",
        command=_celery("flower"),
        environment={
            **environment,
            "FLOWER_ADDRESS": LOOPBACK,
            "FLOWER_PORT": str(port),
            "FLOWER_BASIC_AUTH": f"truetick:{password}",
            "FLOWER_MAX_TASKS": "1000",
        },
    )


def web_child(settings: Settings, addresses: Addresses, environment: Mapping[str, str]) -> ChildSpec:
    host = LOOPBACK if addresses.web_host in {"0.0.0.0", "::"} else addresses.web_host  # noqa: S104
    return ChildSpec(
        name="web",
        command=web_command(addresses.web_host, addresses.web_port),
        environment={**environment, **web_environment(settings)},
        is_ready=lambda: http_answers(host, addresses.web_port, "/healthz"),
    )


def web_command(host: str, port: int) -> list[str]:
    """One process, many threads: the requests wait for the database, not for the processor."""
    address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    return [
        *(sys.executable, "-m", "gunicorn", WEB_APP, "--bind", address),
        *("--worker-class", WEB_WORKER, "--workers", "1", "--threads", str(WEB_THREADS)),
        *("--graceful-timeout", "5", "--no-control-socket", "--log-level", "warning"),
        # What is larger never reaches the application, whose own limits are narrower (`crm_bridge.web.request_size`).
        *("--limit-request-line", "8190", "--limit-request-field_size", "16384", "--limit-request-fields", "200"),
    ]


def web_environment(settings: Settings) -> dict[str, str]:
    """The HTTP API's key: the configured ones, else one that is made here once and kept in a file."""
    return {} if settings.api_keys else {"TRUETICK_API_KEYS": kept_key(api_key_file(settings))}


def api_key_file(settings: Settings) -> Path:
    return settings.var_dir.absolute() / "api-key"


def flower_key_file(settings: Settings) -> Path:
    return settings.var_dir.absolute() / "flower-password"


def sandbox_command(port: int, limit: str) -> list[str]:
    return _cli("sandbox", "--port", str(port), "--limit", limit)


def _cli(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "worker.cli.app", *arguments]


def _celery(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "celery", "-A", "worker", *arguments]
