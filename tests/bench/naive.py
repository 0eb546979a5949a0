"""What Truetick is measured against: the way a CRM would do it alone, one Celery task and one row a message."""

import os
from typing import Any

import requests
from celery import Celery
from sqlalchemy import JSON, BigInteger, Integer, String, create_engine, select, update
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

app = Celery("naive", broker=os.environ.get("CELERY_BROKER_URL"))
app.conf.update(
    task_ignore_result=True,
    task_acks_late=True,
    worker_prefetch_multiplier=4,
    worker_hijack_root_logger=False,
    worker_send_task_events=False,
    broker_connection_retry_on_startup=True,
    worker_redirect_stdouts=False,
)


class Base(DeclarativeBase):
    type_annotation_map = {dict[str, Any]: JSON}  # noqa: RUF012 - SQLAlchemy reads it


class NaiveMessage(Base):
    __tablename__ = "naive_messages"

    id: Mapped[int] = mapped_column(BigInteger().with_variant(Integer, "sqlite"), primary_key=True)
    recipient: Mapped[str] = mapped_column(String(32))
    text: Mapped[str] = mapped_column(String(1000))
    api_key: Mapped[str] = mapped_column(String(64))
    status: Mapped[str] = mapped_column(String(16), index=True)
    gateway_msg_id: Mapped[int | None] = mapped_column(BigInteger)


if "DATABASE_URL" in os.environ:
    engine = create_engine(os.environ["DATABASE_URL"], pool_size=16)
    gateway = requests.Session()
    gateway.trust_env = False


@app.task(name="naive.send")
def send(message_id: int) -> None:
    with Session(engine) as session:
        message = session.execute(select(NaiveMessage).where(NaiveMessage.id == message_id)).scalar_one()
        session.execute(update(NaiveMessage).where(NaiveMessage.id == message_id).values(status="sending"))
        session.commit()
        answer = gateway.post(
            f"{os.environ['WASENDER_BASE_URL']}/send-message",
            json={"to": message.recipient, "text": message.text},
            headers={"Authorization": f"Bearer {message.api_key}"},
            timeout=30,
        )
        session.execute(
            update(NaiveMessage)
            .where(NaiveMessage.id == message_id)
            .values(status="sent", gateway_msg_id=answer.json()["data"]["msgId"])
        )
        session.commit()
