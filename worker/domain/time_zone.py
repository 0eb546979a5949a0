"""Which clock hangs on the recipient's wall: the time zone of a number, by the tables of the `phonenumbers` library.

A number may belong to several zones (mobiles of Russia or Australia). Then two are named, the westernmost and the
easternmost, for the recipient's clock shows something in between.
"""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, tzinfo
from functools import lru_cache
from zoneinfo import ZoneInfo

import phonenumbers
from phonenumbers import NumberParseException, PhoneNumber, PhoneNumberType
from phonenumbers.timezone import time_zones_for_number

#: Zones that lie further apart than this say nothing: a toll-free number of +1 could be in Guam or in Puerto Rico.
WIDEST = timedelta(hours=12)
#: As much as a message's row holds.
LONGEST_NAME = 64
#: Summer time moves the edges of a country; both halves of a year are looked at.
_WINTER, _SUMMER = datetime(2026, 1, 15, 12, tzinfo=UTC), datetime(2026, 7, 15, 12, tzinfo=UTC)
#: A region's own zone is that of a number in it; many a region has tables for one kind of number only.
_EXAMPLES = (PhoneNumberType.MOBILE, PhoneNumberType.FIXED_LINE)


def zone_of(address: str, default_region: str) -> str:
    """Give the zone of a recipient: one IANA name, or two (west, then east) with a blank between them.

    Where the number does not tell (a satellite phone, a group, a toll-free number), its region does, and where that
    does not either, the default region. `address` is E.164 or a JID.
    """
    return next((zone for zones in _candidates(address, default_region) if (zone := _span(zones))), "UTC")


@lru_cache(maxsize=256)
def clock_of(name: str) -> tzinfo:
    """Give the clock of one zone. A name that this machine does not know means UTC, and is never an error."""
    try:
        return ZoneInfo(name)
    except (OSError, ValueError, LookupError):
        return UTC


def _candidates(address: str, default_region: str) -> Iterator[tuple[str, ...]]:
    number = _parsed(address)
    if number is not None:
        yield time_zones_for_number(number)
        yield from _of_region(phonenumbers.region_code_for_number(number))
    yield from _of_region(default_region)


@lru_cache(maxsize=256)
def _of_region(region: str | None) -> tuple[tuple[str, ...], ...]:
    examples = (phonenumbers.example_number_for_type(region, kind) for kind in _EXAMPLES)
    return tuple(time_zones_for_number(example) for example in examples if example is not None)


def _parsed(address: str) -> PhoneNumber | None:
    try:
        return phonenumbers.parse(address) if address.startswith("+") else None
    except NumberParseException:
        return None


@lru_cache(maxsize=1024)
def _span(zones: tuple[str, ...]) -> str | None:
    """The westernmost and the easternmost one, or the one they all agree with; None where they tell nothing."""
    known = [zone for zone in zones if clock_of(zone) is not UTC]
    if not known:
        return None
    west = min(known, key=lambda zone: (min(_offsets(zone)), sum(_offsets(zone), timedelta(0))))
    # Among names of the same clock (Guernsey, Jersey, London) the last one is as good as any other.
    east = max(known, key=lambda zone: (max(_offsets(zone)), sum(_offsets(zone), timedelta(0)), zone))
    if _offsets(west) == _offsets(east):
        return east
    spread = max(_offsets(east)) - min(_offsets(west))
    both = f"{west} {east}"
    return both if spread <= WIDEST and len(both) <= LONGEST_NAME else None


def _offsets(zone: str) -> tuple[timedelta, timedelta]:
    clock = clock_of(zone)
    winter, summer = (at.astimezone(clock).utcoffset() or timedelta(0) for at in (_WINTER, _SUMMER))
    return winter, summer
