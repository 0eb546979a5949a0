"""What holds for every number of every country, and for any text at all."""

import phonenumbers
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from phonenumbers import PhoneNumberFormat, PhoneNumberType

from worker.domain.errors import InvalidNumber
from worker.domain.phone import mask_recipient, normalise_recipient

REGIONS = sorted(phonenumbers.SUPPORTED_REGIONS)

regions = st.sampled_from(REGIONS)
odd_texts = st.one_of(
    st.text(max_size=80),
    st.text(alphabet=st.characters(categories=("Nd", "Cf", "Zs", "Pd", "Cs", "Cc", "Mn")), max_size=40),
    st.text(alphabet="0123456789+-() ./@;,x#\n\u200f\u202aextg.uslid", max_size=70),
    st.text(alphabet="0123456789", min_size=5, max_size=17),
)


@pytest.mark.parametrize("region", REGIONS)
def test_every_countrys_mobile_number_is_understood_in_each_of_its_spellings(region: str) -> None:
    number = phonenumbers.example_number_for_type(region, PhoneNumberType.MOBILE)
    if number is None:  # Tristan da Cunha has no mobile network
        return
    e164 = phonenumbers.format_number(number, PhoneNumberFormat.E164)
    international = phonenumbers.format_number(number, PhoneNumberFormat.INTERNATIONAL)
    national = phonenumbers.format_number(number, PhoneNumberFormat.NATIONAL)

    assert normalise_recipient(national, region).address == e164
    for spelling in (international, e164, f"tel:{e164}", f"{e164[1:]}@s.whatsapp.net"):
        assert normalise_recipient(spelling, region).address == e164
        assert normalise_recipient(spelling, "IN").address == e164


@settings(max_examples=400, deadline=None)
@given(raw=odd_texts, region=regions, other=regions)
@example(raw="0" * 64, region="IN", other="US")
@example(raw="١" * 12, region="EG", other="IN")
def test_any_text_gives_a_stable_address_or_invalid_number(raw: str, region: str, other: str) -> None:
    try:
        recipient = normalise_recipient(raw, region)
    except InvalidNumber:
        return
    assert recipient.address.isascii()
    assert normalise_recipient(recipient.address, other) == recipient


@settings(max_examples=200, deadline=None)
@given(region=regions, digits=st.text(alphabet="0123456789", min_size=6, max_size=12), other=regions)
def test_a_normalised_number_is_normal_whatever_the_default_region(region: str, digits: str, other: str) -> None:
    code = phonenumbers.country_code_for_region(region)
    try:
        recipient = normalise_recipient(f"+{code}{digits}", "IN")
    except InvalidNumber:
        return
    assert normalise_recipient(recipient.address, other) == recipient


@settings(max_examples=200, deadline=None)
@given(st.one_of(odd_texts, st.none(), st.integers(), st.binary()))
def test_a_mask_never_raises_and_hides_most_digits(address: object) -> None:
    masked = mask_recipient(address)
    assert masked.isascii()
    assert sum(char.isdigit() for char in masked) <= 5
