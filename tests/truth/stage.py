"""A stack whose schedules the test has in hand: each call is one tick of one of them, and time passes by decree.

Truetick's clock is the database's content as much as the hour, so an hour has passed for it when every time that is
stored lies an hour further back. The sandbox stays in the present: it ticks when it is told to.
"""

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any

import requests
from sqlalchemy import Connection, Row, select

from tests.conftest import API_KEY
from tests.drain.scene import Crm, drain
from tests.real_servers import wait_until
from wasender_sandbox.control import Sandbox
from worker import doubt, evidence, health, hearing, recovery
from worker.database import transaction
from worker.models import Base, Event, Outage, OutageMessage, UtcDateTime
from worker.parts import Parts
from worker.sweep import sweep

#: The sandbox's own personal access token.
TOKEN = "1|sandbox-personal-access-token"
OPTIONS: dict[str, object] = {
    # A run of questions ends as soon as nothing is due: the tests say when time passes.
    "TRUETICK_RECONCILE_INTERVAL_S": 0.01,
    # Nor does a run of sending wait for the slot after a pause.
    "TRUETICK_DRAIN_RUN_S": 0.2,
    "TRUETICK_READ_TIMEOUT_S": 0.5,
}


def set_up(sandbox: Sandbox) -> None:
    """The default channel, at a WhatsApp that ticks at once."""
    sandbox.create_channel("default", api_key=API_KEY, limit="none")
    sandbox.switch("ack_after_s", 0)
    sandbox.switch("delivered_after_s", 0)


#: Connections are checked less often than the rest is looked at.
CHECK_EVERY_S = 10.0


class Stage:
    def __init__(self, crm: Crm) -> None:
        self.crm = crm
        self.parts: Parts = crm.parts
        self.sandbox: Sandbox = crm.sandbox

    # Schedules

    def send(self) -> None:
        drain(self.parts)

    def ask(self) -> None:
        """Ask about the messages whose question is due."""
        evidence.reconcile_messages(self.parts)

    def check(self) -> None:
        health.check_channels(self.parts)

    def hear(self) -> None:
        hearing.hear_webhooks(self.parts)

    def judge(self) -> None:
        recovery.recover(self.parts)
        doubt.resolve(self.parts)

    def beat(self, *, checking: bool = True) -> None:
        """Every schedule once, and what it wakes."""
        if checking:
            self.check()
        self.ask()
        self.hear()
        self.judge()
        sweep(self.parts)
        self.send()

    # Time

    def pass_time(self, seconds: float) -> None:
        """Nothing happens for so long."""
        with transaction(self.parts.engine) as connection:
            _age(connection, seconds)

    def live(self, seconds: float, *, step_s: float = 5.0, until: Callable[[], Any] | None = None) -> float:
        """Let the schedules run for so long, or until something is so. Returns how long that took."""
        lived_s = check_at_s = 0.0
        while lived_s < seconds and not (until and until()):
            self.pass_time(step_s)
            lived_s += step_s
            self.beat(checking=lived_s >= check_at_s)
            if lived_s >= check_at_s:
                check_at_s = lived_s + CHECK_EVERY_S
        assert until is None or until(), f"it did not happen within {seconds:g} s"
        return lived_s

    # What the database says

    def outages(self) -> Sequence[Row[Any]]:
        return self.crm.read(select(Outage.__table__).order_by(Outage.id))

    def at_risk(self) -> Sequence[Row[Any]]:
        return self.crm.read(select(OutageMessage.__table__))

    # What happens outside

    def ticks(self, count: int) -> None:
        """WhatsApp has ticked so many messages."""
        wait_until(lambda: len(self.sandbox.ledger(acked=True)) >= count, within_s=5, what=f"{count} ticks")

    def delivered(self) -> int:
        """How many webhooks have come."""
        return int(self.sandbox.state()["webhooks"]["delivered"])

    def webhook(self, event: str, data: object) -> None:
        """A webhook that the sandbox does not send by itself."""
        channel = self.sandbox.channel("default")
        answer = requests.post(
            channel["webhook_url"],
            json={"event": event, "sessionId": channel["api_key"], "data": data},
            headers={"X-Webhook-Signature": channel["webhook_secret"]},
            timeout=10,
        )
        assert answer.json() == {"received": True}


def _age(connection: Connection, seconds: float) -> None:
    """Put all times back, but for those of events, which only tell a story."""
    if connection.dialect.name == "sqlite":
        aged = "aged({0}, {1!r})"
        connection.connection.dbapi_connection.create_function("aged", 2, _aged)  # type: ignore[union-attr]
    else:
        aged = "{0} - {1!r} * interval '1 second'"
    for table in Base.metadata.sorted_tables:
        times = [column.name for column in table.columns if isinstance(column.type, UtcDateTime)]
        if times and table.name != Event.__tablename__:
            put_back = ", ".join(f"{time} = {aged.format(time, float(seconds))}" for time in times)
            connection.exec_driver_sql(f"UPDATE {table.name} SET {put_back}")


def _aged(stored: str | None, seconds: float) -> str | None:
    """A time as SQLAlchemy stores it in SQLite."""
    if stored is None:
        return None
    return (datetime.fromisoformat(stored) - timedelta(seconds=seconds)).strftime("%Y-%m-%d %H:%M:%S.%f")
