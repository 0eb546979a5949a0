"""A message may quote an earlier one of the same chat, goes out after it, and names it by WaSender's id."""

from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import select

from tests.outbox.desk import ALICE, BOB, DEFAULTS, OURS, Desk
from worker.domain.errors import InvalidRequest
from worker.domain.evidence import Ack
from worker.domain.message_request import parse_request
from worker.domain.message_status import MessageState
from worker.domain.outcomes import Cause
from worker.models import Event, Message
from worker.outbox.enqueue import Enqueued, Order, enqueue_all
from worker.outbox.events import Source

MSG_ID = 58_224_349


def id_of(desk: Desk, seq: int) -> str:
    return str(desk.message(seq).id)


def refusal(desk: Desk, channel_id: int, **request: Any) -> str:
    with pytest.raises(InvalidRequest) as refused:
        desk.enqueue(channel_id, **request)
    return refused.value.code


def send(desk: Desk, channel_id: int, seq: int, gateway_msg_id: int = MSG_ID) -> None:
    """WaSender takes the message that is next, which has to be this one."""
    claim = desk.claim_one(channel_id)
    assert claim.seq == seq
    desk.finish(claim, Cause.ACCEPTED, gateway_msg_id=gateway_msg_id)


def reasons(desk: Desk, seq: int) -> list[str]:
    return [row.reason for row in desk.read(select(Event).where(Event.message_seq == seq).order_by(Event.id))]


def test_a_message_quotes_what_went_to_the_same_recipient_on_the_same_channel(desk: Desk) -> None:
    channel_id, other = desk.channel(), desk.channel("other")
    first = desk.enqueue(channel_id)

    assert desk.enqueue(channel_id, reply_to=id_of(desk, first))
    assert refusal(desk, channel_id, reply_to=str(uuid4())) == "unknown_reply_to"
    assert refusal(desk, channel_id, to=BOB, reply_to=id_of(desk, first)) == "reply_to_another_recipient"
    assert refusal(desk, other, reply_to=id_of(desk, first)) == "reply_to_another_channel"
    own = str(uuid4())
    assert refusal(desk, channel_id, message_id=own, reply_to=own) == "unknown_reply_to"


def test_within_a_batch_a_message_may_quote_one_before_it(desk: Desk) -> None:
    channel_id = desk.channel()
    first, second, third = (str(uuid4()) for _ in range(3))
    requests = [
        {"message_id": first, "text": "one"},
        {"message_id": second, "text": "two", "reply_to": first},
        {"text": "before its time", "reply_to": third},
        {"message_id": third, "text": "three", "to": "12"},
        {"text": "to one that was refused", "reply_to": third},
    ]
    orders = [
        Order(request=parse_request({"to": ALICE} | given), channel_id=channel_id, message_id=uuid4())
        for given in requests
    ]
    became = desk.write(lambda c: enqueue_all(c, orders, defaults=DEFAULTS, now=desk.now, source=Source.API))

    assert [one.created if isinstance(one, Enqueued) else one.code for one in became] == [
        *(True, True),
        *("unknown_reply_to", "too_short", "unknown_reply_to"),
    ]


def test_a_sender_who_would_not_see_the_refusal_finds_a_failed_message(desk: Desk) -> None:
    channel_id = desk.channel()
    request = parse_request({"to": ALICE, "text": "Hello", "reply_to": str(uuid4())})
    order = Order(request=request, channel_id=channel_id, message_id=uuid4())

    [kept] = desk.write(
        lambda c: enqueue_all(c, [order], defaults=DEFAULTS, now=desk.now, source=Source.API, keep_refused=True)
    )

    assert kept.state is MessageState.FAILED
    [row] = desk.read(select(Message.error_code, Message.error_message))
    assert row.error_code == "unknown_reply_to"
    assert "no message" in row.error_message


def test_the_same_request_is_the_same_message_although_its_quote_could_no_longer_be_used(desk: Desk) -> None:
    channel_id, own = desk.channel(), str(uuid4())
    quoted = id_of(desk, desk.enqueue(channel_id))
    seq = desk.enqueue(channel_id, message_id=own, reply_to=quoted)
    desk.write(
        lambda c: c.execute(Message.__table__.update().where(Message.id == UUID(quoted)).values(recipient=BOB))
    )

    assert desk.enqueue(channel_id, message_id=own, reply_to=quoted) == seq


@pytest.mark.parametrize("ack", [None, Ack.SERVER, Ack.READ])
def test_the_quoted_message_is_named_by_wasenders_id(desk: Desk, ack: Ack | None) -> None:
    channel_id = desk.channel()
    first = desk.enqueue(channel_id)
    second = desk.enqueue(channel_id, text="Yes", reply_to=id_of(desk, first))
    desk.lease()
    send(desk, channel_id, first)
    if ack is not None:
        desk.tick(first, ack)

    claim = desk.claim_one(channel_id)

    assert claim.seq == second
    assert claim.content == {"text": "Yes", "reply_to": MSG_ID}
    assert "quote_left_out" not in reasons(desk, second)
    assert desk.message(second).content["reply_to"] == id_of(desk, first), "what was asked for is forgotten"


@pytest.mark.parametrize("fate", ["refused", "cancelled", "failed later", "another channel's"])
def test_without_wasenders_id_of_the_quoted_one_it_goes_out_without_the_quote(desk: Desk, fate: str) -> None:
    channel_id, other = desk.channel(), desk.channel("other")
    first = desk.enqueue(channel_id)
    second = desk.enqueue(channel_id, text="Yes", reply_to=id_of(desk, first))
    desk.lease()
    if fate == "refused":
        desk.finish(desk.claim_one(channel_id), Cause.NOT_ON_WHATSAPP)
    elif fate == "cancelled":
        desk.write(
            lambda c: c.execute(
                Message.__table__.update().where(Message.seq == first).values(state=MessageState.CANCELLED)
            )
        )
    else:
        send(desk, channel_id, first)
        if fate == "failed later":
            desk.tick(first, Ack.ERROR)
        else:
            desk.write(
                lambda c: c.execute(Message.__table__.update().where(Message.seq == first).values(channel_id=other))
            )

    claim = desk.claim_one(channel_id)

    assert claim.seq == second
    assert claim.content == {"text": "Yes"}
    assert reasons(desk, second)[-1] == "quote_left_out"


def test_a_message_never_overtakes_the_one_that_it_quotes(desk: Desk) -> None:
    channel_id = desk.channel()
    later = desk.now.replace(hour=15).isoformat()
    first = desk.enqueue(channel_id, priority="bulk", send_after=later)
    second = desk.enqueue(channel_id, reply_to=id_of(desk, first))
    other = desk.enqueue(channel_id, text="urgent")
    desk.lease()

    send(desk, channel_id, other, gateway_msg_id=1)
    assert desk.claim([channel_id], OURS).claims == ()
    desk.wait(3 * 3600)
    desk.set_channel(channel_id, lease_token=None)
    desk.lease()
    send(desk, channel_id, first)
    claim = desk.claim_one(channel_id)
    assert (claim.seq, claim.content["reply_to"]) == (second, MSG_ID)
