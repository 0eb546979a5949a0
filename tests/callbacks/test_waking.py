"""When a sweep has endpoints told: there is something to tell, to try again, to forget, or an endpoint to begin."""

from collections.abc import Callable

import pytest

from tests.callbacks.office import DELIVERED, SENT, Office
from tests.callbacks.receiver import Receiver, answering
from worker.callbacks.teller import Teller, anything_to_do
from worker.parts import Parts


def test_nothing_is_to_be_done_where_nobody_is_to_be_told(office: Office) -> None:
    office.message(SENT)
    assert not anything_to_do(office.parts)


def test_news_whose_wake_up_was_lost_are_found(office: Office, receiver: Receiver) -> None:
    office.add(receiver.url)
    assert not anything_to_do(office.parts)

    message = office.message(SENT)
    assert anything_to_do(office.parts)
    office.tell()

    assert receiver.statuses(message) == ["sent"]
    assert not anything_to_do(office.parts), "all is told"


def test_a_callback_that_was_told_in_vain_is_found_when_it_is_due_again(office: Office, receiver: Receiver) -> None:
    receiver.behave = lambda _: answering(503)
    office.add(receiver.url)
    office.message(SENT)
    office.tell()
    assert not anything_to_do(office.parts), "it is put off"

    office.wait(hours=1)
    assert anything_to_do(office.parts)


def test_what_was_delivered_long_ago_is_forgotten(office: Office, receiver: Receiver) -> None:
    office.add(receiver.url)
    office.message(SENT, DELIVERED)
    office.tell()

    office.wait(days=8)

    assert anything_to_do(office.parts)
    Teller().look(office.parts)  # one that has just forgotten does so again after a minute
    assert office.callbacks() == []
    assert not anything_to_do(office.parts)


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_the_endpoint_of_the_environment_begins_before_anything_happens(
    build: Callable[..., Parts], database_url: str
) -> None:
    office = Office(database_url, build(database_url, TRUETICK_CALLBACK_URL="http://127.0.0.1:9/"))
    try:
        assert anything_to_do(office.parts)
        office.tell()
        assert office.endpoint("default").address is None
        assert not anything_to_do(office.parts)
    finally:
        office.close()
