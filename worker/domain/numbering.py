"""Phone numbers: from cleaned digits to E.164, by the rules of the `phonenumbers` library.

A number is never guessed: what is not valid in the default region and has no country code is refused, with a hint.
"""

import re
from typing import NoReturn

import phonenumbers
from phonenumbers import NumberParseException, PhoneNumber, PhoneNumberFormat, PhoneNumberType, ValidationResult

from worker.domain.errors import InvalidNumber

#: Nobody reads WhatsApp there. Toll-free and landline numbers are let through: businesses do run WhatsApp on them,
#: and WaSender tells when they do not.
_UNREACHABLE_TYPES = {
    PhoneNumberType.PREMIUM_RATE: "a premium-rate number",
    PhoneNumberType.SHARED_COST: "a shared-cost service number",
    PhoneNumberType.PAGER: "a pager",
    PhoneNumberType.VOICEMAIL: "a voicemail box",
}

#: Mexican mobiles were dialled with a 1 behind the country code until 2019, and are still written so in many a CRM.
_OLD_MEXICAN_MOBILE = re.compile(r"(00)?521(\d{10})")


def parse_number(digits: str, *, international: bool, region: str) -> PhoneNumber:
    """Give the valid number that `digits` (ASCII, without a plus) spell.

    `international` says that they begin with a country code; else they are read as written inside `region` (two
    letters, any case), where the region's own trunk and international prefixes may precede them.
    Raises `InvalidNumber`.
    """
    home = region.upper() if isinstance(region, str) else ""
    if (old := _OLD_MEXICAN_MOBILE.fullmatch(digits)) and (international or old[1]):
        digits = f"{old[1] or ''}52{old[2]}"
    if international:
        digits = digits.removeprefix("00")
    elif home not in phonenumbers.SUPPORTED_REGIONS:
        raise InvalidNumber(
            f"The default region {str(region)[:20]!r} is not a country that has phone numbers. "
            "Use its two letters (IN, AE, GB…), or write the number with + and its country code.",
            code="unknown_region",
        )
    number = _parse(f"+{digits}") if international else _parse(digits, home)
    if number is None or not phonenumbers.is_valid_number(number):
        _refuse(digits, number, international=international, home=home)
    kind = _UNREACHABLE_TYPES.get(phonenumbers.number_type(number))
    if kind:
        raise InvalidNumber(
            f"This is {kind}, which WhatsApp does not reach. Use the person's own number.", code="unreachable_type"
        )
    return number


def to_e164(number: PhoneNumber) -> str:
    """Give `number` as `+` and digits."""
    return str(phonenumbers.format_number(number, PhoneNumberFormat.E164))


def region_of(number: PhoneNumber) -> str | None:
    """Give the two letters of the country `number` belongs to, or None when it belongs to none."""
    region = phonenumbers.region_code_for_number(number)
    return region if region in phonenumbers.SUPPORTED_REGIONS else None


def _parse(text: str, region: str | None = None) -> PhoneNumber | None:
    try:
        return phonenumbers.parse(text, region)
    except NumberParseException:
        return None


def _refuse(digits: str, number: PhoneNumber | None, *, international: bool, home: str) -> NoReturn:
    """Tell what is wrong with a number that is not valid, and what would help."""
    if not international:
        stranger = _parse("+" + digits.removeprefix("00"))
        if stranger is not None and phonenumbers.is_valid_number(stranger):
            spelling = phonenumbers.format_number(stranger, PhoneNumberFormat.INTERNATIONAL)
            raise InvalidNumber(
                f"This is not a number of the default region {home}, and it has no country code. "
                f"If it is {spelling}, write it with the +.",
                code="missing_country_code",
            )
    if len(digits) > 15:
        raise InvalidNumber("The number has too many digits; at most 15 are possible.", code="too_long")
    if number is None:
        if len(digits) < 5:
            raise InvalidNumber("The number has too few digits. Write it in full.", code="too_short")
        raise InvalidNumber(
            f"No country has the code that +{digits.removeprefix('00')[:3]}… begins with. Correct the country code.",
            code="unknown_country_code",
        )
    place = f"+{number.country_code}" if international else f"{home} (+{number.country_code})"
    match phonenumbers.is_possible_number_with_reason(number):
        case ValidationResult.TOO_SHORT | ValidationResult.IS_POSSIBLE_LOCAL_ONLY:
            raise InvalidNumber(
                f"The number has too few digits for {place}. Write it in full, with its area code.", code="too_short"
            )
        case ValidationResult.TOO_LONG:
            raise InvalidNumber(f"The number has too many digits for {place}.", code="too_long")
        case _:
            raise InvalidNumber(
                f"No phone number of {place} looks like this; it is not assigned to anybody. "
                + ("Check its digits." if international else "A number of another country needs its + and code."),
                code="unassigned",
            )
