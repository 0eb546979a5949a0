"""Every human spelling becomes one address, and every refusal says which kind of wrong it is."""

import time

import pytest

from worker.domain.errors import InvalidNumber
from worker.domain.phone import Recipient, RecipientKind, mask_recipient, normalise_recipient

INDIAN = "+917033009600"


@pytest.mark.parametrize(
    "spelling",
    [
        "7033009600",
        " 7033009600\n",
        "070330 09600",
        "70330-09600",
        "70330.09600",
        "(070330) 09600",
        "+917033009600",
        "+91 70330 09600",
        "(+91) 70330-09600",
        "+91 0 70330 09600",
        "+91 (0) 70330 09600",
        "917033009600",
        "00917033009600",
        "00 91 70330 09600",
        "+0091 70330 09600",
        "70330\u00a009600",
        "\u202a+91 70330\u200b09600\u202c",
        "\u200f7033009600",
        "\ufeff7033009600",
        "70330\u201109600",
        "70330\u221209600",
        "＋９１ ７０３３００９６００",
        "०७०३३००९६००",
        "٧٠٣٣٠٠٩٦٠٠",
        "7\ufe0f\u20e3033009600",
        "'7033009600",
        '"7033009600"',
        "7033009600.0",
        "tel:+91-70330-09600",
        "TEL:7033009600",
        "tel:70330-09600;phone-context=+91",
        "whatsapp:+917033009600",
        "https://wa.me/917033009600",
        "wa.me/917033009600?text=Hello",
        "https://api.whatsapp.com/send?phone=917033009600&text=Hi",
        "917033009600@s.whatsapp.net",
        "917033009600:12@s.whatsapp.net",
        "917033009600@C.US",
    ],
)
def test_a_human_spelling_becomes_e164(spelling: str) -> None:
    assert normalise_recipient(spelling, "IN") == Recipient(address=INDIAN, kind=RecipientKind.NUMBER, region="IN")


@pytest.mark.parametrize(
    ("spelling", "region", "address"),
    [
        ("020 7946 0958", "GB", "+442079460958"),
        ("030/123456", "de", "+4930123456"),
        ("06 698 12345", "IT", "+390669812345"),
        ("011 15-2345-6789", "AR", "+5491123456789"),
        ("(415) 555-2671", "US", "+14155552671"),
        ("011 91 70330 09600", "US", INDIAN),
        ("011-23456789", "IN", "+911123456789"),
        ("1800 11 2233", "IN", "+911800112233"),
        ("+44 7400 123456", "no such region", "+447400123456"),
    ],
)
def test_a_number_is_read_as_written_in_its_region(spelling: str, region: str, address: str) -> None:
    assert normalise_recipient(spelling, region).address == address


@pytest.mark.parametrize(
    ("jid", "kind"),
    [
        ("120363025555555555@g.us", RecipientKind.GROUP),
        ("917033009600-1600000000@g.us", RecipientKind.GROUP),
        ("120363025555555555@newsletter", RecipientKind.NEWSLETTER),
    ],
)
def test_group_and_newsletter_jids_pass_unchanged(jid: str, kind: RecipientKind) -> None:
    assert normalise_recipient(f" {jid} ", "IN") == Recipient(address=jid, kind=kind)


@pytest.mark.parametrize(
    ("spelling", "code"),
    [
        ("", "empty"),
        (" \u200b\u202c\t\n", "empty"),
        ("call me", "not_a_number"),
        ("1-800-FLOWERS", "not_a_number"),
        ("7.03301E+09", "not_a_number"),
        ("7033009600²", "not_a_number"),
        ("7033\x0009600", "not_a_number"),
        ("\ud800", "not_a_number"),
        ("*121#", "not_a_number"),
        ("+", "not_a_number"),
        ("91+7033009600", "not_a_number"),
        ("person@example.com", "not_a_number"),
        (None, "not_a_number"),
        (7033009600, "not_a_number"),
        (b"7033009600", "not_a_number"),
        ("100", "too_short"),
        ("112", "too_short"),
        ("+911234", "too_short"),
        ("+9170330096007033009600", "too_long"),
        ("9" * 65, "too_long"),
        ("9" * 100_000, "too_long"),
        ("70330096", "unassigned"),
        ("+91 0000000000", "unassigned"),
        ("70330096001", "unassigned"),
        ("+999 123456789", "unknown_country_code"),
        ("971501234567", "missing_country_code"),
        ("1 (415) 555-2671", "missing_country_code"),
        ("7033009600 ext. 5", "extension"),
        ("7033009600x5", "extension"),
        ("7033009600#12", "extension"),
        ("tel:+917033009600;ext=5", "extension"),
        ("7033009600, 7033009601", "several_numbers"),
        ("7033009600/7033009601", "several_numbers"),
        ("7033009600\n7033009601", "several_numbers"),
        ("+917033009600 +917033009601", "several_numbers"),
        ("7033009600 or 7033009601", "several_numbers"),
        ("123456789012345@lid", "lid"),
        ("status@broadcast", "broadcast"),
        ("1600000000@broadcast", "broadcast"),
        ("@someone", "username"),
        ("＠someone", "username"),
        ("group@g.us", "malformed_jid"),
        ("abc@s.whatsapp.net", "malformed_jid"),
    ],
)
def test_what_cannot_be_sent_to_is_refused_with_its_own_code(spelling: object, code: str) -> None:
    with pytest.raises(InvalidNumber) as refusal:
        normalise_recipient(spelling, "IN")  # type: ignore[arg-type]
    assert refusal.value.code == code
    assert refusal.value.message.endswith(".")


def test_a_premium_rate_number_is_refused() -> None:
    with pytest.raises(InvalidNumber) as refusal:
        normalise_recipient("0900 1234567", "NL")
    assert refusal.value.code == "unreachable_type"


def test_a_strangers_number_is_not_guessed_but_suggested() -> None:
    with pytest.raises(InvalidNumber, match=r"If it is \+971 50 123 4567, write it with the \+\."):
        normalise_recipient("971501234567", "IN")


@pytest.mark.parametrize("region", ["", "XX", "India", None, "001"])
def test_an_unknown_default_region_is_named_only_when_it_is_needed(region: str) -> None:
    assert normalise_recipient(INDIAN, region).address == INDIAN
    with pytest.raises(InvalidNumber) as refusal:
        normalise_recipient("7033009600", region)
    assert refusal.value.code == "unknown_region"


def test_a_huge_input_is_refused_at_once() -> None:
    started = time.process_time()
    for huge in ("9" * 100_000, "\u200b" * 100_000, "+" * 100_000, "1@" * 50_000):
        with pytest.raises(InvalidNumber):
            normalise_recipient(huge, "IN")
    assert time.process_time() - started < 0.5


@pytest.mark.parametrize(
    ("address", "masked"),
    [
        (INDIAN, "+91*******600"),
        ("7033009600", "70*****600"),
        ("＋९१ 70330 09600", "+91*******600"),
        ("120363025555555555@g.us", "12*************555@g.us"),
        ("917033009600@s.whatsapp.net", "91*******600@s.whatsapp.net"),
        ("person7033009600@example.com", "70*****600"),
        ("12345", "***"),
        ("", "***"),
        (None, "***"),
        ("9" * 100_000, "99***************999"),
    ],
)
def test_a_mask_shows_at_most_five_digits(address: object, masked: str) -> None:
    assert mask_recipient(address) == masked


@pytest.mark.parametrize("spelling", ["+52 1 55 1234 5678", "+5215512345678", "005215512345678", "+52 55 1234 5678"])
def test_a_mexican_mobile_loses_the_1_that_was_abolished(spelling: str) -> None:
    assert normalise_recipient(spelling, "IN").address == "+525512345678"
