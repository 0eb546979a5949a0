"""A broker that a CRM's own Celery uses as well: its workers answer, but do nothing for us."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.cli.conftest import Said
from tests.real_servers import Valkey, wait_until
from worker.diagnosis.broker_line import BrokerLine
from worker.settings import read_settings

Truetick = Callable[..., Said]


@pytest.fixture
def log_of_the_crms_worker(broker: Valkey, tmp_path: Path) -> Iterator[Path]:
    """A worker of the CRM's own, on Celery's default queue as well."""
    (tmp_path / "shop.py").write_text("from celery import Celery\n\ncrm = Celery('shop')\n")
    log = tmp_path / "crm.log"
    # Not forked from where ours are: there our command is known.
    command = [sys.executable, "-m", "celery", "-A", "shop", "-b", broker.url, "worker", "--pool", "solo"]
    with log.open("w") as output:
        worker = subprocess.Popen(
            [*command, "--loglevel", "INFO", "--hostname", "shop@crm"],
            cwd=tmp_path,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        wait_until(lambda: "ready." in log.read_text(), within_s=30, what="the CRM's worker")
        yield log
    finally:
        worker.kill()
        worker.wait(10)


def test_a_crms_own_worker_is_neither_counted_as_ours_nor_asked_what_it_does_not_understand(
    on: Truetick, broker: Valkey, log_of_the_crms_worker: Path
) -> None:
    on("channels", "add", "sales", "--api-key", "k")

    said = on("channels", "set-key", "sales", "--api-key", "l", CELERY_BROKER_URL=broker.url)
    (found,) = BrokerLine(read_settings(CELERY_BROKER_URL=broker.url, _env_file=None)).workers()

    assert "No worker answers" in said.out
    assert (found.name, found.is_ours) == ("shop@crm", False)
    assert "ERROR" not in log_of_the_crms_worker.read_text()
