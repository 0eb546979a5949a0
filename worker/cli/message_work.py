"""What the message commands do. On the operator's own terminal numbers stand in full."""

from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

from rich.text import Text

from worker import intake
from worker.channels import registry
from worker.cli import display, file_work
from worker.cli.why_page import show_why
from worker.cli.workplace import Workers, look_for_workers, wake_drain, workplace
from worker.database import snapshot, transaction
from worker.domain.channel_state import DEFAULT_CHANNEL, ChannelState
from worker.domain.errors import InvalidNumber
from worker.domain.message_request import parse_request
from worker.domain.message_status import MessageState
from worker.domain.phone import normalise_recipient
from worker.outbox import people, reading
from worker.outbox.events import Source
from worker.outbox.reading import Filters, MessageView
from worker.parts import Parts
from worker.why import Explanation, explain

#: From this width on, a list has room for more than the id, the status and the number.
WIDE = 110


def send(asked: dict[str, Any], *, file: Path | None, as_json: bool) -> None:
    """Store the message (and the file that it carries), wake the workers, and tell what it waits for."""
    given = file_work.read(file) if file is not None else None
    request = parse_request(asked) if given is None else None
    with workplace() as parts:
        with transaction(parts.engine) as connection:
            if given is not None:
                request = parse_request(file_work.keep(connection, given, now=parts.clock()) | asked)
            assert request is not None
            enqueued = intake.send_request(
                parts, connection, request, now=parts.clock(), message_id=uuid4(), source=Source.OPERATOR
            )
        if intake.needs_wake(parts, enqueued):
            wake_drain()
        explained = _explain(parts, enqueued.message_id)
    if as_json:
        display.print_json(explained.message.as_json())
        return
    message = explained.message
    there = "" if enqueued.created else " It was there already; nothing was added."
    display.say(f"Message {message.id} to {message.recipient or message.to} is {message.status}.{there}")
    display.say(" ".join(explained.because))
    if message.pending:
        for advice in _advice(explained, look_for_workers()):
            display.say(advice, style="yellow")
        display.say(f"Follow it with: truetick why {message.id}")


def list_them(
    *,
    status: str | None,
    channel: str | None,
    to: str | None,
    crm_ref: str | None,
    attention: bool,
    limit: int,
    as_json: bool,
) -> None:
    with workplace() as parts:
        recipient = _address(to, parts.settings.default_region) if to else None
        filters = Filters(
            status=status,
            channel=channel,
            recipient=recipient,
            unreadable=None if recipient else to,
            crm_ref=crm_ref,
            attention=attention or None,
        )
        now = parts.clock()
        with snapshot(parts.engine) as connection:
            if channel is not None and channel != DEFAULT_CHANNEL:  # which may not have been used yet
                registry.channel_id(connection, channel)
            found = reading.list_messages(connection, filters, now=now, limit=limit)
    if as_json:
        display.print_json({"messages": [message.as_json() for message in found]})
    elif not found:
        display.say(
            "No message matches." if any((status, channel, to, crm_ref, attention)) else "There are no messages yet."
        )
    else:
        _show(found, now)


def why(message_id: UUID, *, as_json: bool) -> None:
    with workplace() as parts:
        explained = _explain(parts, message_id)
        now = parts.clock()
    if as_json:
        display.print_json(explained.as_json())
    else:
        show_why(explained, now)


def resend(message_id: UUID, *, as_json: bool) -> None:
    with workplace() as parts:
        with transaction(parts.engine) as connection:
            people.resend(connection, message_id, now=parts.clock())
        wake_drain()
        explained = _explain(parts, message_id)
    _tell(explained, f"Message {message_id} is back in the queue.", as_json=as_json)


def cancel(message_id: UUID, *, as_json: bool) -> None:
    with workplace() as parts:
        with transaction(parts.engine) as connection:
            state = people.cancel(connection, message_id, now=parts.clock())
        explained = _explain(parts, message_id)
    done = "is withdrawn" if state is MessageState.CANCELLED else "is let go; it counts as failed"
    _tell(explained, f"Message {message_id} {done}.", as_json=as_json)


def _tell(explained: Explanation, done: str, *, as_json: bool) -> None:
    if as_json:
        display.print_json(explained.message.as_json())
    else:
        display.say(done)
        display.say(" ".join(explained.because))


def _explain(parts: Parts, message_id: UUID) -> Explanation:
    settings = parts.settings
    with snapshot(parts.engine) as connection:
        return explain(
            connection,
            message_id,
            now=parts.clock(),
            check_interval_s=settings.check_interval_s,
            quiet_hours=settings.quiet_hours,
        )


def _advice(explained: Explanation, workers: Workers) -> list[str]:
    """What to do about a message that waits. A missing worker comes first: it hides everything else."""
    if workers is Workers.ANSWER:
        return [explained.action] if explained.action else []
    problem = "No worker answers." if workers is Workers.SILENT else "The broker cannot be reached or is full."
    start = "The message is kept and goes out once a worker runs: truetick up (or celery -A worker worker)."
    stopped = explained.channel.state not in {ChannelState.UP, ChannelState.UNKNOWN}
    known = [explained.action] if explained.action and stopped else []
    return [f"{problem} {start}", *known]


def _address(written: str, region: str) -> str | None:
    """The recipient as it is stored; None for what is no number, which is looked for as it was written."""
    try:
        return normalise_recipient(written, region).address
    except InvalidNumber:
        return None


def _show(found: list[MessageView], now: datetime) -> None:
    wide = display.console().width >= WIDE
    columns = ["id", "status", "to", *(["channel", "created", "crm ref"] if wide else [])]
    rows: list[list[str | Text]] = []
    for message in found:
        code = message.pending.code if message.pending else message.error_code
        detail = None if code == message.status else code
        status = f"{message.status}: {detail}" if detail else message.status
        more = [message.channel.name, display.ago(message.created_at, now), message.crm_ref or ""] if wide else []
        rows.append([str(message.id), display.styled(message.status, status), message.recipient or message.to, *more])
    display.table(columns, rows, whole=["id"])
