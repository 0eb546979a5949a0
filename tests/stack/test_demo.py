"""The demonstration as a person runs it."""

import re
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.stack.processes import Running

DEMO = ("-m", "worker.cli.app", "demo")


@pytest.mark.slow
def test_it_proves_that_every_status_is_true(running: Callable[..., Running], tmp_path: Path) -> None:
    began = time.monotonic()
    demo = running(
        *DEMO,
        # What is configured for real use must not be touched.
        DATABASE_URL="postgresql://nobody@127.0.0.1:9/production",
        CELERY_BROKER_URL="redis://127.0.0.1:9/0",
        WASENDER_API_KEY="a-real-key",
        WASENDER_BASE_URL="http://127.0.0.1:9/api",
        TMPDIR=str(tmp_path),
    )
    demo.says("2. The CRM knows nothing of it")
    demo.family()
    demo.says("Done in", within_s=90)
    assert demo.ends() == 0, demo.output
    assert time.monotonic() - began < 60

    said = demo.output
    assert "37 wait, and say why: channel down (need_scan). 7 numbers have failed at once" in said
    assert re.search(r"36 +sent, and WhatsApp has them", said)
    zeros = re.findall(r"│ +(\d+) +(said to be sent|sent twice|out of order|over the rate|should have arrived)", said)
    assert [count for count, _ in zeros] == ["0"] * 5
    assert "Every status is true" in said
    assert not list(tmp_path.glob("truetick-demo-*")), "a clean run leaves no file"


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_nothing_is_left_when_it_is_stopped_in_the_middle(
    running: Callable[..., Running], number: signal.Signals, tmp_path: Path
) -> None:
    demo = running(*DEMO, TMPDIR=str(tmp_path))
    demo.says("3. Somebody scans the QR code", within_s=60)
    assert len(demo.family()) >= 10
    demo.send(number)
    code = demo.ends(within_s=60)
    assert code == (1 if number is signal.SIGINT else -number)
    if number is signal.SIGINT:
        assert "Stopped before its end, so nothing is proven." in demo.output
