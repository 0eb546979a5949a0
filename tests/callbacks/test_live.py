"""Real workers and beat on a real broker: a worker that is killed while it tells costs a repetition, no change."""

from collections import defaultdict
from pathlib import Path

from sqlalchemy import select, update

from tests.callbacks.receiver import OK, SECRET, Receiver
from tests.drain.scene import Crm, number
from tests.live_stack import LiveStack
from tests.real_servers import wait_until
from worker.database import transaction
from worker.domain.channel_state import ChannelState
from worker.models import Callback, Endpoint, Message


def told_in_order(crm: Crm) -> dict[str, list[str]]:
    """The statuses of each message that the CRM has to be told, as they happened."""
    rows = crm.read(
        select(Message.id, Callback.status)
        .join_from(Callback, Message, Message.seq == Callback.message_seq)
        .order_by(Callback.feed_no)
    )
    told = defaultdict(list)
    for row in rows:
        told[str(row.id)].append(row.status)
    return told


def test_a_worker_killed_while_it_tells_is_followed_by_one_that_tells_the_rest(
    environment: dict[str, str], crm: Crm, receiver: Receiver, tmp_path: Path
) -> None:
    told_where = {"TRUETICK_CALLBACK_URL": receiver.url, "TRUETICK_CALLBACK_SECRET": SECRET}
    with LiveStack(tmp_path, environment | told_where) as stack:
        stack.worker("first")
        stack.beat()
        stack.until_ready("first")
        wait_until(lambda: crm.read(select(Endpoint.id)), within_s=10, what="the endpoint of the environment")
        wait_until(lambda: crm.channel().state is ChannelState.UP, within_s=10, what="the first check")

        receiver.gate.clear()
        receiver.behave = lambda _: receiver.hanging
        sent = {stack.send(to=number(index), text="a secret of the patient") for index in range(6)}
        # What the worker is killed in is the telling, not the sending.
        wait_until(lambda: crm.states() == ["delivered"] * 6, within_s=30, what="the delivery of all messages")
        wait_until(lambda: len(receiver.heard) >= 2, within_s=20, what="telling that hangs")
        stack.kill("first")
        cut_off = {heard.id for heard in receiver.heard}
        receiver.behave = lambda _: OK
        receiver.gate.set()
        with transaction(crm.parts.engine) as connection:  # as if its lease had run out
            connection.execute(update(Endpoint).values(lease_expires_at=crm.parts.clock()))

        stack.worker("second")
        wait_until(
            lambda: {row.state for row in crm.read(select(Callback.state))} == {"delivered"},
            within_s=40,
            what="the telling of all changes",
        )
        log = stack.log("first") + stack.log("second")

    wanted = told_in_order(crm)
    assert set(wanted) == sent
    for message, statuses in wanted.items():
        assert list(dict.fromkeys(receiver.statuses(message))) == statuses
        assert statuses[-1] == "delivered"
    assert cut_off <= {heard.id for heard in receiver.taken}, "what was cut off was not told again under its id"
    assert receiver.unverified == 0
    for secret in (SECRET, "of-the-path", "patient"):
        assert secret not in log
    assert "Traceback" not in log
