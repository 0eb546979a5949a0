"""Sends through the broker: Truetick's Python client, made once for the whole process."""

from django.conf import settings
from django.db import transaction

from crm.models import Customer, Message
from crm_bridge import NotEnqueued, Truetick

truetick = Truetick(broker_url=settings.TRUETICK_BROKER_URL)


NOT_HANDED_OVER = "not handed over"


def greet(customer: Customer) -> Message:
    """Note the message in the CRM, and hand it over once that is committed.

    One that could not be handed over is tried again under its own id, so it cannot be sent twice.
    """
    with transaction.atomic():
        message = customer.messages.last()
        if message is None or message.status != NOT_HANDED_OVER:
            message = Message.objects.create(customer=customer)
        transaction.on_commit(lambda: hand_over(message))
    return message


def hand_over(message: Message) -> None:
    """The rest is told by callbacks."""
    status, problem = "pending", ""
    try:
        truetick.send(
            message_id=message.id,
            to=message.customer.phone,
            text="Hello {{name}}, your order is ready.",
            values={"name": message.customer.name},
            crm_ref=f"customer-{message.customer_id}",
        )
    except NotEnqueued:
        status, problem = NOT_HANDED_OVER, "The queue does not answer. Please try again."
    # A callback may have been quicker; what it told stays.
    Message.objects.filter(id=message.id, last_change=0).update(status=status, problem=problem)
