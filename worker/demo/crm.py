"""The CRM's half of the demonstration: it knows the broker's address and the name of a task, and nothing else."""

from celery import Celery

from worker.demo.contacts import Contact


def enqueue(contacts: list[Contact], broker_url: str) -> None:
    """One Celery task a row. A row that comes twice carries the same idempotency key twice."""
    app = Celery("crm", broker=broker_url)
    app.conf.update(task_ignore_result=True, task_publish_retry=False)
    with app.producer_or_acquire() as producer:
        for contact in contacts:
            app.send_task(
                "truetick.send_message",
                kwargs={
                    "to": contact.phone,
                    "text": contact.text,
                    "crm_ref": contact.ref,
                    "message_id": str(contact.message_id),
                    "idempotency_key": f"order-ready:{contact.ref}",
                },
                producer=producer,
            )
    app.close()
