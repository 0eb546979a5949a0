"""A message that quotes another, as the gateway sees it."""

from uuid import uuid4

from tests.drain.scene import Crm, drain, number
from wasender_sandbox.control import Sandbox
from worker.parts import Parts


def test_the_reply_names_what_it_quotes_by_the_gateways_own_id(crm: Crm, parts: Parts, sandbox: Sandbox) -> None:
    first = str(uuid4())
    crm.enqueue(["Tea or coffee?"], message_id=first)
    crm.enqueue(["Tea, then."], reply_to=first)

    drain(parts)

    question, answer = sandbox.ledger()
    assert (question.text, answer.text) == ("Tea or coffee?", "Tea, then.")
    assert "replyTo" not in question.payload
    assert answer.payload["replyTo"] == question.msg_id


def test_a_reply_to_what_could_not_be_sent_goes_out_alone(crm: Crm, parts: Parts, sandbox: Sandbox) -> None:
    sandbox.fault("answer", text="Tea", status=422, body='{"success":false,"message":"No."}')
    first = str(uuid4())
    crm.enqueue(["Tea or coffee?"], to=lambda _: number(1), message_id=first)
    crm.enqueue(["Never mind."], to=lambda _: number(1), reply_to=first)

    drain(parts)

    [entry] = sandbox.ledger()
    assert entry.payload == {"to": number(1), "text": "Never mind."}
    assert crm.states() == ["failed", "accepted"]
    assert [row.reason for row in crm.events(2)] == ["", "quote_left_out", "accepted"]
