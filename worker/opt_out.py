"""Opt-out: somebody wrote STOP, or START, or a person says so for them. What follows for messages, and the answer.

The wish is stored first: from then on new messages to them are refused. Then what waits for them fails, on every
channel; then they are answered. Each step is harmless when it is done again.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import structlog
from sqlalchemy import Connection, select

from worker.channels import window
from worker.database import snapshot, transaction
from worker.domain.errors import NotConfigured, TruetickError
from worker.domain.message_request import SendRequest
from worker.domain.opt_out import Wish, start_answer, stop_answer
from worker.domain.webhook_fact import WishSeen
from worker.gateway.lids import NO_ANSWER, LidAnswer
from worker.models import Channel
from worker.outbox import suppressions, webhook_facts
from worker.outbox.enqueue import Defaults, Order, enqueue_all
from worker.outbox.events import Source
from worker.outbox.webhook_facts import TakenFact
from worker.parts import Parts

log = structlog.get_logger(__name__)

#: A wish is looked at again soon: what was just being stored when it came fails then.
LOOKS = 2
#: So often WaSender is asked for the number behind a LID, over about an hour, before the LID itself has to do.
QUESTIONS = 11
#: An answer that could not go out within a day is no answer.
ANSWER_FOR = timedelta(days=1)


@dataclass(frozen=True, kw_only=True)
class Heard:
    """A wish that was taken to be carried out. `at` is when it was written."""

    id: int
    tries: int
    at: datetime
    said: WishSeen


def hear_wishes(parts: Parts, channel_id: int, taken: Iterable[TakenFact]) -> bool:
    """Carry out the wishes that webhooks of one channel told of, in the order in which they were written.

    True when an answer waits to be sent.
    """
    wishes = [
        Heard(id=one.id, tries=one.tries, at=_written_at(one.fact, one.received_at), said=one.fact)
        for one in taken
        if isinstance(one.fact, WishSeen)
    ]
    answering, asking = False, True
    for wish in sorted(wishes, key=lambda wish: (wish.at, wish.id)):
        alike = _known_as(parts, wish.said)
        recipient = wish.said.sender or min(alike, default=None)
        if recipient is None and wish.said.lid is not None:
            found = _ask(parts, channel_id, wish.said.lid) if asking else NO_ANSWER
            asking, recipient = found.answered, found.number
            if not found.answered and wish.tries < QUESTIONS:
                with transaction(parts.engine) as connection:
                    webhook_facts.park(connection, [wish.id], parts.clock())
                continue
            recipient = recipient or _nameless(channel_id, wish.said)
        assert recipient is not None, "a wish has a sender or a LID"
        work = _hear_stop if wish.said.wish is Wish.STOP else _hear_start
        answering |= work(parts, channel_id, wish, recipient, alike - {recipient})
    return answering


def _known_as(parts: Parts, said: WishSeen) -> set[str]:
    """The numbers to which our messages reached this person. WhatsApp spells some otherwise than they are dialled,
    and knows some people by a LID only."""
    with snapshot(parts.engine) as connection:
        return suppressions.written_to_at(connection, {jid for jid in (said.jid, said.lid) if jid is not None})


def _nameless(channel_id: int, said: WishSeen) -> str | None:
    """Of this person there is a LID only: it is kept, and people are told, for messages go to numbers."""
    log.warning(
        "opt_out_without_number",
        channel_id=channel_id,
        wish=said.wish.value,
        advice="WhatsApp tells no number of this person. Find in WhatsApp who wrote it, and say it by number: "
        "truetick opt-outs add NUMBER, or remove NUMBER",
    )
    return said.lid


def _hear_start(parts: Parts, channel_id: int, wish: Heard, recipient: str, alike: Collection[str]) -> bool:
    names = {recipient, wish.said.lid or recipient, *alike}
    with transaction(parts.engine) as connection:
        lifted = suppressions.lift(connection, names, at=wish.at)
        webhook_facts.use_up(connection, [wish.id])
        answer = start_answer(parts.settings.start_reply) if lifted else None
        return _answer(connection, parts, channel_id, Wish.START, recipient, answer)


def _hear_stop(parts: Parts, channel_id: int, wish: Heard, recipient: str, alike: Collection[str]) -> bool:
    for name in (recipient, *sorted(alike)):
        stop(parts, name, at=wish.at, source=Source.WEBHOOK, word=wish.said.word, channel_id=channel_id)
    if parts.stopping.is_set():  # perhaps not all has failed that waits, so the wish is left to another worker
        return False
    with transaction(parts.engine) as connection:
        if wish.tries < LOOKS and recipient != wish.said.lid:
            webhook_facts.park(connection, [wish.id], parts.clock())
        else:
            webhook_facts.use_up(connection, [wish.id])
        # Only the wish that counts is answered, not its repetition, and not one that was overtaken by another.
        counts = suppressions.since(connection, recipient) == wish.at
        answer = stop_answer(parts.settings.stop_reply, parts.settings.start_words) if counts else None
        return _answer(connection, parts, channel_id, Wish.STOP, recipient, answer)


def stop(
    parts: Parts,
    recipient: str,
    *,
    at: datetime,
    source: Source,
    word: str | None = None,
    channel_id: int | None = None,
) -> int:
    """Somebody wants no more messages: refuse new ones, and fail what waits. Returns how many failed."""
    with transaction(parts.engine) as connection:
        holds = suppressions.suppress(connection, recipient, at=at, source=source, word=word, channel_id=channel_id)
    failed = 0
    while holds and not parts.stopping.is_set():
        with transaction(parts.engine) as connection:
            waiting = suppressions.channels_waiting(connection, recipient)
            window.lock(connection, waiting)
            batch = suppressions.fail_queued(connection, recipient, waiting, now=parts.clock(), source=source)
        failed += batch
        if batch < suppressions.BATCH:
            break
    log.info("opt_out", holds=holds, source=source.value, failed=failed)
    return failed


def start(parts: Parts, recipient: str, *, at: datetime) -> bool:
    """Somebody wants messages again, says a person. False when they had never wanted none."""
    with transaction(parts.engine) as connection:
        return suppressions.lift(connection, [recipient], at=at) > 0


def _answer(
    connection: Connection, parts: Parts, channel_id: int, wish: Wish, recipient: str, text: str | None
) -> bool:
    """Answer on the channel on which it was asked, at most once a day. True when there is something to send."""
    if text is None or not recipient.startswith("+"):
        return False
    now = parts.clock()
    channel = connection.execute(select(Channel.name).where(Channel.id == channel_id)).scalar_one()
    request = SendRequest(
        to=recipient, text=text, channel=channel, on_doubt="hold", expires_at=now + ANSWER_FOR, quiet_hours=False
    )
    order = Order(
        request=request,
        channel_id=channel_id,
        message_id=suppressions.answer_id(wish, recipient, now),
        is_answer=True,
    )
    defaults = Defaults(region=parts.settings.default_region, on_doubt="hold")
    [became] = enqueue_all(connection, [order], defaults=defaults, now=now, source=Source.WORKER)
    # A second one that day is the same message with another `expires_at`, so it is refused as a conflict.
    return not isinstance(became, TruetickError) and became.created


def _ask(parts: Parts, channel_id: int, lid: str) -> LidAnswer:
    """The number behind a LID, asked with the channel's own key, outside of any transaction."""
    with snapshot(parts.engine) as connection:
        sealed = connection.execute(select(Channel.api_key_encrypted).where(Channel.id == channel_id)).scalar_one()
    try:
        key = parts.vault.channel_key(sealed)
    except NotConfigured:
        key = None
    return parts.gateway.number_of(key.get_secret_value(), lid) if key is not None else NO_ANSWER


def _written_at(said: WishSeen, received_at: datetime) -> datetime:
    """By WhatsApp's clock, which tells a repeated webhook from a repeated wish. Nothing was written in the future."""
    if said.written_at is None:
        return received_at
    return min(datetime.fromtimestamp(said.written_at, UTC), received_at)
