"""The demonstration's contacts: as many spellings as promised, and what should become of each."""

from collections import Counter

from worker.demo.contacts import read_contacts, unique
from worker.domain.errors import InvalidNumber
from worker.domain.phone import normalise_recipient


def test_there_are_enough_and_exactly_one_comes_twice() -> None:
    rows = read_contacts()
    assert len(rows) >= 40
    assert len(rows) - len(unique(rows)) == 1
    assert [count for count in Counter((row.ref, row.phone, row.text) for row in rows).values() if count > 1] == [2]


def test_exactly_the_invalid_ones_cannot_be_understood() -> None:
    def understood(phone: str) -> bool:
        try:
            return bool(normalise_recipient(phone, "IN"))
        except InvalidNumber:
            return False

    assert [row.ref for row in read_contacts() if understood(row.phone) is (row.outcome == "invalid")] == []


def test_the_same_recipient_comes_in_several_spellings() -> None:
    arriving = [row for row in unique(read_contacts()).values() if row.should_arrive]
    recipients = Counter(normalise_recipient(row.phone, "IN").address for row in arriving)
    assert sum(count > 1 for count in recipients.values()) >= 3, "else order would prove nothing"


def test_texts_tell_messages_apart() -> None:
    contacts = unique(read_contacts()).values()
    assert len({contact.text for contact in contacts}) == len(contacts)
