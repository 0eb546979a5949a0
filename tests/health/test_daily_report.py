"""Once a day people are told how each channel stands, what went out and what waits for them."""

from collections.abc import Callable, Iterator
from datetime import timedelta

import pytest
from structlog.testing import capture_logs

from tests.drain.scene import Crm, drain, number
from tests.health.receiver import Receiver
from tests.real_servers import wait_until
from wasender_sandbox.control import Sandbox
from worker.channels import registry
from worker.channels.registry import NewChannel
from worker.daily_report import check_health
from worker.database import transaction
from worker.domain.channel_state import ChannelState
from worker.domain.pace import Pace
from worker.parts import Parts

TEXT = "the text of a message"


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as receiver:
        yield receiver


@pytest.fixture
def parts(build: Callable[..., Parts], database_url: str, receiver: Receiver, sandbox: Sandbox) -> Parts:
    sandbox.create_channel("default", api_key="5a" * 32, limit="none")
    return build(database_url, TRUETICK_ALERT_URLS=receiver.url)


@pytest.fixture
def crm(crm: Crm) -> Crm:
    crm.set_channel("default", state=ChannelState.UP, checked_at=crm.parts.clock(), unacked_window=20)
    return crm


def told(parts: Parts, receiver: Receiver) -> dict[str, str]:
    before = len(receiver.got)
    assert check_health(parts) is not None
    wait_until(lambda: len(receiver.got) > before, within_s=15, what="the notice")
    wait_until(lambda: not parts.courier.busy, within_s=15, what="the courier's return")
    assert TEXT not in str(receiver.got)
    assert "70330" not in str(receiver.got)
    return receiver.got[-1]


def test_a_quiet_day_is_told_too(crm: Crm, parts: Parts, receiver: Receiver) -> None:
    notice = told(parts, receiver)
    assert notice["title"] == "Truetick: channel default is well"
    assert "0 sent (ticked by WhatsApp), 0 failed. 0 pending now." in notice["message"]
    assert notice["type"] == "success"


def test_the_day_is_told_in_numbers_and_what_waits_for_a_person_by_its_name(
    crm: Crm, parts: Parts, receiver: Receiver
) -> None:
    now = parts.clock()
    crm.enqueue([TEXT] * 4, to=number)
    drain(parts)
    one, two, three, four = (row.seq for row in crm.messages())
    crm.set_message(one, state="delivered", sent_at=now, accepted_at=now)
    crm.set_message(two, state="sent", sent_at=now - timedelta(days=2), accepted_at=now - timedelta(days=2))
    crm.set_message(three, state="in_doubt", accepted_at=None, attention="in_doubt")
    crm.set_message(four, state="queued", accepted_at=None)
    with transaction(parts.engine) as connection:
        registry.add(connection, NewChannel(name="sales", pace=Pace(1, 5)), now)
    crm.set_channel("sales", state=ChannelState.DOWN, reason="need_scan", checked_at=now)

    notice = told(parts, receiver)

    assert notice["title"] == "Truetick: 1 of 2 channels do not send well"
    body = notice["message"]
    assert "1 sent (ticked by WhatsApp), 0 failed. 2 pending now." in body
    assert "1 of them for a person to decide" in body
    assert "Channel sales is down (need_scan)." in body
    assert "QR code" in body
    assert notice["type"] == "failure"


def test_without_addresses_a_log_line_tells(crm: Crm, build: Callable[..., Parts], database_url: str) -> None:
    with capture_logs() as logs:
        assert check_health(build(database_url)) is not None
    [line] = [entry for entry in logs if entry["event"] == "daily_health"]
    assert (line["channel"], line["state"], line["sent"], line["pending"]) == ("default", "up", 0, 0)
