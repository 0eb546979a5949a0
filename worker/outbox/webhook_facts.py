"""All SQL on `webhook_facts`: stored before a webhook is answered, taken, parked while unknown, deleted once used.

A fact may be taken twice (its lease ran out), so using it must be harmless the second time. Locks: take facts in a
transaction of their own; elsewhere their rows come last, after channels, messages and attempts.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog
from sqlalchemy import Connection, Select, bindparam, delete, insert, select, update

from worker.domain.errors import InvalidRequest
from worker.domain.retry import backoff_s
from worker.domain.webhook_fact import Fact, from_said, to_said
from worker.models import WebhookFact

log = structlog.get_logger(__name__)

#: How long whoever has taken a fact may need for it, before another one takes it.
LEASE = timedelta(seconds=30)
#: The first and the longest pause before a fact that nobody knew what to do with is looked at again, in seconds.
FIRST_PAUSE_S, LONGEST_PAUSE_S = 2.0, 21_600.0
#: After this a fact is not about a message of ours.
KEEP = timedelta(hours=48)

_ANY_DUE = select(WebhookFact.id).where(WebhookFact.next_try_at <= bindparam("now")).limit(1)
_PARK = (
    update(WebhookFact)
    .where(WebhookFact.id == bindparam("_id"))
    .values(next_try_at=bindparam("_next_try_at"), tries=WebhookFact.tries + 1)
)


@dataclass(frozen=True, kw_only=True)
class TakenFact:
    """A fact that is ours to use for the length of the lease."""

    id: int
    channel_id: int
    received_at: datetime
    #: How often it was parked before.
    tries: int
    fact: Fact


def store(connection: Connection, channel_id: int, facts: Iterable[Fact], now: datetime) -> int:
    """Store the facts of one webhook, each once, due at once. Returns how many rows that made."""
    rows = [
        {
            "channel_id": channel_id,
            "received_at": now,
            "kind": fact.kind,
            "whatsapp_key_id": getattr(fact, "whatsapp_key_id", None),
            "said": to_said(fact),
            "next_try_at": now,
            "tries": 0,
        }
        for fact in dict.fromkeys(facts)
    ]
    if rows:
        connection.execute(insert(WebhookFact), rows)
    return len(rows)


def anything_due(connection: Connection, now: datetime) -> bool:
    """Is there a fact that `take_due` would take?"""
    return connection.execute(_ANY_DUE, {"now": now}).first() is not None


def take_due(connection: Connection, now: datetime, most: int) -> Sequence[TakenFact]:
    """Take up to `most` due facts, the longest due first; nobody else gets them before the lease is over.

    One that this program does not understand is left for another version of it, or for `forget_old`.
    """
    rows = connection.execute(
        select(WebhookFact.__table__)
        .where(WebhookFact.next_try_at <= now)
        .order_by(WebhookFact.next_try_at, WebhookFact.id)
        .limit(most)
        .with_for_update(skip_locked=True)
    ).all()
    if not rows:
        return ()
    ids = [row.id for row in rows]
    connection.execute(update(WebhookFact).where(WebhookFact.id.in_(ids)).values(next_try_at=now + LEASE))
    taken = []
    for row in rows:
        try:
            fact = from_said(row.kind, row.said)
        except InvalidRequest as error:
            log.warning(error.code, fact_id=row.id, kind=row.kind, advice=error.message)
            continue
        taken.append(
            TakenFact(id=row.id, channel_id=row.channel_id, received_at=row.received_at, tries=row.tries, fact=fact)
        )
    return taken


def park(connection: Connection, ids: Collection[int], now: datetime) -> None:
    """Put facts that concern nothing known so far away, each time for twice as long as before.

    One that was woken while it was being looked at stays awake: what it waited for is known by now.
    """
    rows = connection.execute(_locked(ids).add_columns(WebhookFact.tries).where(WebhookFact.next_try_at > now)).all()
    parked = []
    for row in rows:
        pause_s = backoff_s(row.tries + 1, first_s=FIRST_PAUSE_S, most_s=LONGEST_PAUSE_S)
        parked.append({"_id": row.id, "_next_try_at": now + timedelta(seconds=pause_s)})
    if parked:
        connection.execute(_PARK, parked)


def use_up(connection: Connection, ids: Collection[int]) -> None:
    """Delete facts whose content is recorded elsewhere by now (in the same transaction), or is worth nothing."""
    found = connection.execute(_locked(ids)).scalars().all()
    if found:
        connection.execute(delete(WebhookFact).where(WebhookFact.id.in_(found)))


def wake_parked(connection: Connection, key_ids: Mapping[int, Collection[str]], now: datetime) -> int:
    """Make the facts due that wait for these ids of WhatsApp's, just learnt, by channel id. Returns how many.

    One that waits for the same id on another of these channels is woken as well, and parks again.
    """
    if not key_ids:
        return 0
    waiting = (
        select(WebhookFact.id)
        .where(
            WebhookFact.channel_id.in_(list(key_ids)),
            WebhookFact.whatsapp_key_id.in_(set().union(*key_ids.values())),
            WebhookFact.next_try_at > now,
        )
        .order_by(WebhookFact.id)
        .with_for_update()
    )
    found = connection.execute(waiting).scalars().all()
    if found:
        connection.execute(update(WebhookFact).where(WebhookFact.id.in_(found)).values(next_try_at=now))
    return len(found)


def forget_old(connection: Connection, now: datetime, most: int = 10_000) -> int:
    """Delete what was received more than 48 hours ago and never used, up to `most`. Returns how many that were."""
    before = now - KEEP
    # Facts are received in the order of their ids, so one row tells whether there is anything to do.
    oldest = connection.execute(select(WebhookFact.received_at).order_by(WebhookFact.id).limit(1)).scalar()
    if oldest is None or oldest > before:
        return 0
    old = (
        select(WebhookFact.id)
        .where(WebhookFact.received_at <= before)
        .order_by(WebhookFact.id)
        .limit(most)
        .with_for_update(skip_locked=True)
    )
    return connection.execute(delete(WebhookFact).where(WebhookFact.id.in_(old.scalar_subquery()))).rowcount


def _locked(ids: Collection[int]) -> Select[int]:
    """In the order of their ids, so that two who lock the same facts do not wait for each other."""
    return select(WebhookFact.id).where(WebhookFact.id.in_(ids)).order_by(WebhookFact.id).with_for_update()
