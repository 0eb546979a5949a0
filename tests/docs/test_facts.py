"""What the tables of the docs say about single words is what the program does with them."""

import re

from tests.live_stack import ROOT
from worker import why
from worker.domain.message_request import SendRequest

DOCS = ROOT / "docs"


def test_the_docs_name_whose_turn_it_is_as_the_program_does() -> None:
    rows = re.findall(
        r"^\| (`\w+`(?:, `\w+`)*) \| .* \| ([^|]*) \|$", (DOCS / "statuses.md").read_text(), re.MULTILINE
    )
    told = {reason: turn for reasons, turn in rows for reason in re.findall(r"`(\w+)`", reasons)}
    names = {"truetick": "Truetick's", "wasender": "WaSender's", "whatsapp": "WhatsApp's"}
    assert {reason: told.get(reason) for reason in why.TURNS} == {r: names[turn] for r, turn in why.TURNS.items()}


def test_the_docs_name_all_that_makes_two_requests_different() -> None:
    """Fields that are content, or the CRM's own notes, are told in words of their own."""
    (same,) = re.findall(r'"The same" is .*?\.\sSo', (DOCS / "connect-your-crm.md").read_text(), re.DOTALL)
    told = set(re.findall(r"`(\w+)`", same))
    one = {"to": "+917033009600", "text": "Hello"}
    options = {
        *("channel", "pool", "failover", "priority", "send_after", "expires_at", "on_doubt"),
        *("quiet_hours", "check_number", "reply_to"),
    }
    assert told == options
    assert options <= set(SendRequest.model_fields)
    plain = SendRequest.model_validate(one).fingerprint("+917033009600")
    for given in ({"pool": "a"}, {"failover": True}, {"quiet_hours": False}, {"check_number": True}):
        assert SendRequest.model_validate(one | given).fingerprint("+917033009600") != plain
