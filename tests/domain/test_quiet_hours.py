"""Quiet hours and the clocks they go by: across midnight, across borders, and in the nights when clocks are moved."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.domain.errors import NotConfigured
from worker.domain.quiet_hours import QuietHours
from worker.domain.time_zone import clock_of, zone_of

NIGHT = QuietHours.parse("21:00-09:00")
INDIA = "Asia/Calcutta"
AUSTRALIA = "Indian/Cocos Australia/Lord_Howe"
ZONES = [INDIA, "America/New_York", "Europe/London", "Australia/Lord_Howe", AUSTRALIA]
moments = st.integers(0, 2 * 365 * 86_400).map(lambda s: datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=s))
clocks = st.integers(0, 24 * 60 - 1).map(lambda minute: f"{minute // 60:02}:{minute % 60:02}")


def at(text: str, zone: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).astimezone(UTC)


@pytest.mark.parametrize(
    ("now", "ends"),
    [
        ("2026-11-22 20:59:59", None),
        ("2026-11-22 21:00:00", "2026-11-23 09:00:00"),
        ("2026-11-23 00:00:00", "2026-11-23 09:00:00"),
        ("2026-11-23 08:59:59", "2026-11-23 09:00:00"),
        ("2026-11-23 09:00:00", None),
    ],
)
def test_a_night_begins_in_the_evening_and_ends_in_the_morning(now: str, ends: str | None) -> None:
    assert NIGHT.until(at(now, INDIA), INDIA) == (at(ends, INDIA) if ends else None)


def test_a_span_within_one_day_ends_on_that_day() -> None:
    noon = QuietHours.parse("12:00-14:30")
    assert noon.until(at("2026-11-22 12:00", INDIA), INDIA) == at("2026-11-22 14:30", INDIA)
    assert noon.until(at("2026-11-22 14:30", INDIA), INDIA) is None


@pytest.mark.parametrize(
    ("evening", "hours"),
    [("2026-03-07 21:00", 11), ("2026-03-08 21:00", 12), ("2026-10-31 21:00", 13), ("2026-11-01 21:00", 12)],
)
def test_the_night_in_which_clocks_are_moved_is_an_hour_shorter_or_longer(evening: str, hours: int) -> None:
    begun = at(evening, "America/New_York")
    assert NIGHT.until(begun, "America/New_York") == begun + timedelta(hours=hours)
    assert NIGHT.until(begun - timedelta(seconds=1), "America/New_York") is None


def test_an_end_that_the_clocks_leave_out_comes_right_after_the_gap() -> None:
    short = QuietHours.parse("00:00-02:30")
    ends = short.until(at("2026-03-08 01:59", "America/New_York"), "America/New_York")
    assert ends == at("2026-03-08 03:30", "America/New_York")
    assert ends is not None
    assert short.until(ends, "America/New_York") is None


def test_an_end_that_comes_twice_counts_the_first_time() -> None:
    short = QuietHours.parse("00:00-01:30")
    first = at("2026-11-01 01:30", "America/New_York")
    assert short.until(first - timedelta(minutes=1), "America/New_York") == first
    again = [first + timedelta(minutes=minutes) for minutes in range(0, 120, 10)]
    assert {short.until(moment, "America/New_York") for moment in again} == {None}


def test_of_several_zones_nobody_is_woken() -> None:
    """In Australia's winter the clocks lie between +06:30 and +10:30."""
    woken_last, asleep_first = at("2026-07-02 09:00", "Indian/Cocos"), at("2026-07-02 21:00", "Australia/Lord_Howe")
    assert NIGHT.until(woken_last - timedelta(seconds=1), AUSTRALIA) == woken_last
    assert NIGHT.until(woken_last, AUSTRALIA) is None
    assert NIGHT.until(asleep_first - timedelta(seconds=1), AUSTRALIA) is None
    assert NIGHT.until(asleep_first, AUSTRALIA) == at("2026-07-03 09:00", "Indian/Cocos")


def test_short_quiet_hours_between_the_clocks_are_heeded_as_well() -> None:
    """It is 12:59 in the west and 16:59 in the east, and noon's rest has just been somewhere in between."""
    rest = QuietHours.parse("14:00-15:00")
    now = at("2026-07-02 12:59", "Indian/Cocos")
    assert rest.until(now, AUSTRALIA) == at("2026-07-02 15:00", "Indian/Cocos")


def test_zones_of_which_one_always_sleeps_keep_no_message_for_ever() -> None:
    long = QuietHours.parse("20:00-17:00")
    now = at("2026-07-02 17:30", "Indian/Cocos")
    assert long.until(now, AUSTRALIA) is None, "three hours of the day are left, but the clocks are four hours apart"
    assert long.until(now - timedelta(hours=1), AUSTRALIA) == at("2026-07-02 17:00", "Indian/Cocos")


@given(now=moments, begin=clocks, end=clocks, zone=st.sampled_from(ZONES))
def test_whatever_the_hours_they_end_later_than_now_within_two_days_and_then_they_are_over(
    now: datetime, begin: str, end: str, zone: str
) -> None:
    if begin == end:
        return
    hours = QuietHours.parse(f"{begin}-{end}")
    ends = hours.until(now, zone)
    if ends is not None:
        assert now < ends <= now + timedelta(hours=49)
        assert hours.until(ends, zone) is None
        local = ends.astimezone(clock_of(zone.split()[0]))
        assert local.time() == hours.end or local.utcoffset() != now.astimezone(local.tzinfo).utcoffset()


@given(now=moments, zone=st.sampled_from(ZONES))
def test_what_may_go_out_arrives_in_nobodys_night(now: datetime, zone: str) -> None:
    if NIGHT.until(now, zone) is None:
        for name in zone.split():
            assert 9 <= now.astimezone(clock_of(name)).hour < 21


@pytest.mark.parametrize("text", ["", "21-9", "21:00", "24:00-09:00", "21:00-09:60", "09:00-09:00", "21:00-9", "x"])
def test_what_are_no_quiet_hours_is_refused(text: str) -> None:
    with pytest.raises(NotConfigured, match="21:00-09:00"):
        QuietHours.parse(text)


# Whose clock


@pytest.mark.parametrize(
    ("address", "zone"),
    [
        ("+917033009600", INDIA),
        ("+12125551234", "America/New_York"),
        ("+14155550123", "America/Los_Angeles"),
        # All islands of the Channel keep London's time.
        ("+447911123456", "Europe/London"),
        # A mobile of Australia may be anywhere in it.
        ("+61412345678", AUSTRALIA),
        # Toll-free numbers of +1 belong to half the world, so their country's own time has to do.
        ("+18005551234", "America/New_York"),
        ("+12423591234", "America/Nassau"),
        # A satellite phone, a group and a newsletter are nowhere.
        ("+88213300655", INDIA),
        ("120363025246125016@g.us", INDIA),
        ("120363025246125016@newsletter", INDIA),
        ("+999", INDIA),
    ],
)
def test_a_number_tells_its_zone_and_what_tells_none_keeps_the_default_regions(address: str, zone: str) -> None:
    assert zone_of(address, "IN") == zone


@pytest.mark.parametrize(("region", "zone"), [("US", "America/New_York"), ("GB", "Europe/London"), ("ZZ", "UTC")])
def test_the_default_regions_own_zone_is_that_of_a_number_in_it(region: str, zone: str) -> None:
    assert zone_of("120363025246125016@g.us", region) == zone


def test_a_zone_that_this_machine_does_not_know_is_no_error() -> None:
    assert clock_of("Atlantis/Capital") is UTC
    assert clock_of("../../etc/passwd") is UTC
    assert NIGHT.until(datetime(2026, 11, 22, 22, tzinfo=UTC), "Atlantis/Capital") is not None
