"""A default channel without a key is nobody's trouble beside others, until a message waits for it."""

from collections.abc import Callable

import pytest
from prometheus_client.parser import text_string_to_metric_families
from pydantic import SecretStr
from sqlalchemy import select

from tests.conftest import API_KEY
from tests.drain.scene import Crm
from wasender_sandbox.control import Sandbox
from worker import metrics
from worker.channels import alarm_claims, overview, registry, states
from worker.channels.overview import ChannelStanding
from worker.daily_report import check_health
from worker.database import snapshot, transaction
from worker.domain.channel_state import ChannelState
from worker.health import check_channels
from worker.models import Channel, Outage
from worker.outbox import people
from worker.outbox.rates import rates
from worker.parts import Parts


@pytest.fixture
def parts(build: Callable[..., Parts], database_url: str) -> Parts:
    return build(database_url, WASENDER_API_KEY=None)


@pytest.fixture
def crm(parts: Parts, sandbox: Sandbox) -> Crm:
    """An installation with one channel that a person has added, and no key in the environment."""
    crm = Crm(parts, sandbox)
    crm.channels("sales")
    return crm


def make_default(parts: Parts) -> int:
    with transaction(parts.engine) as connection:
        return registry.ensure_default(connection, parts.settings.pace, parts.clock())


def check(crm: Crm) -> None:
    for name in ("default", "sales"):
        crm.set_channel(name, check_due_at=crm.parts.clock())
    check_channels(crm.parts)


def standings(parts: Parts) -> list[ChannelStanding]:
    with snapshot(parts.engine) as connection:
        return overview.standings(connection, now=parts.clock(), check_interval_s=60)


def flowing_figures(parts: Parts) -> dict[str, float]:
    found = standings(parts)
    with snapshot(parts.engine) as connection:
        counted = rates(connection, [channel.id for channel in found], now=parts.clock())
    families = text_string_to_metric_families(metrics.written(found, counted, ()).decode())
    (family,) = [family for family in families if family.name == "truetick_channel_flowing"]
    return {sample.labels["channel"]: sample.value for sample in family.samples}


def alarms_due(parts: Parts) -> bool:
    with snapshot(parts.engine) as connection:
        return alarm_claims.anything_due(connection, now=parts.clock())


def test_nobody_makes_a_default_channel_that_nobody_asked_for(crm: Crm, parts: Parts) -> None:
    check_channels(parts)
    assert crm.read(select(Channel.name)) == [("sales",)]


@pytest.mark.parametrize("paused", [False, True])
def test_one_that_nothing_waits_for_counts_nowhere(crm: Crm, parts: Parts, paused: bool) -> None:
    default = make_default(parts)
    check(crm)
    assert crm.channel().reason == "no_api_key"
    if paused:
        with transaction(parts.engine) as connection:
            states.pause(connection, default, now=parts.clock())
            states.pause(connection, default, now=parts.clock())
        check(crm)

    found = standings(parts)

    assert crm.read(select(Outage.id)) == []
    assert not alarms_due(parts)
    assert overview.all_up(found)
    assert overview.all_flowing(found)
    assert flowing_figures(parts) == {"sales": 1.0}
    notice = check_health(parts)
    assert notice is not None
    assert (notice.title, notice.good) == ("Truetick: channel sales is well", True)


def test_one_that_was_paused_before_a_worker_looked_counts_nowhere_either(crm: Crm, parts: Parts) -> None:
    with transaction(parts.engine) as connection:
        channel_id = registry.ensure_default(connection, parts.settings.pace, parts.clock())
        states.pause(connection, channel_id, now=parts.clock())
    check(crm)
    assert overview.all_flowing(standings(parts))


def test_a_message_that_waits_for_it_is_trouble_until_it_waits_no_more(crm: Crm, parts: Parts) -> None:
    make_default(parts)
    check(crm)
    crm.enqueue(["to nowhere"])
    check(crm)

    found = standings(parts)

    assert crm.read(select(Outage.state, Outage.reason, Outage.ended_at)) == [("blocked", "no_api_key", None)]
    assert alarms_due(parts)
    assert not overview.all_up(found)
    assert not overview.all_flowing(found)
    assert flowing_figures(parts) == {"default": 0.0, "sales": 1.0}
    notice = check_health(parts)
    assert notice is not None
    assert notice.title == "Truetick: 1 of 2 channels do not send well"
    assert "WASENDER_API_KEY" in notice.body

    with transaction(parts.engine) as connection:
        people.cancel(connection, crm.messages()[0].id, now=parts.clock())
    check(crm)

    assert [row.ended_at is None for row in crm.read(select(Outage.ended_at))] == [False]
    with transaction(parts.engine) as connection:
        assert alarm_claims.take_due(connection, now=parts.clock(), most=9) == [], (
            "it was over before anybody was told"
        )
    assert overview.all_flowing(standings(parts))


def test_a_message_that_came_before_the_first_check_is_trouble_at_once(crm: Crm, parts: Parts) -> None:
    crm.enqueue(["to nowhere"])
    check_channels(parts)
    assert crm.read(select(Outage.reason)) == [("no_api_key",)]


def test_a_paused_one_counts_again_as_soon_as_a_worker_has_its_key(crm: Crm, parts: Parts, sandbox: Sandbox) -> None:
    default = make_default(parts)
    check(crm)
    with transaction(parts.engine) as connection:
        states.pause(connection, default, now=parts.clock())
    sandbox.create_channel("default", api_key=API_KEY)
    parts.settings.gateway_api_key = SecretStr(API_KEY)
    check(crm)

    assert not overview.all_up(standings(parts)), "a paused channel with a key does not send"
    assert (crm.channel().state, crm.channel().reason) == (ChannelState.PAUSED, states.BY_A_PERSON)
    with transaction(parts.engine) as connection:
        states.resume(connection, default, now=parts.clock())
    check(crm)
    assert overview.all_up(standings(parts))
