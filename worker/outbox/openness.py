"""What may be at WaSender without a tick, in SQL: for the window of a channel, and for the order of a recipient."""

from typing import Any

from sqlalchemy import and_, bindparam, exists, func, literal_column, or_, select
from sqlalchemy.orm import aliased

from worker.models import Channel, Message

#: Word for word the condition of the partial index `ix_messages_open`, so that it answers.
_OPEN = "{alias}.state IN ('sending', 'accepted', 'in_doubt') AND {alias}.attention IS NULL"
#: And that of `ix_messages_refused`; the `coalesce` keeps SQLite from reading the whole queue instead.
_REFUSED = "{alias}.refused_at IS NOT NULL AND coalesce({alias}.state, '') = 'queued'"


def is_open(alias: str) -> Any:
    """The messages (under this alias) whose outcome may still be learnt without a person."""
    return literal_column(f"({_OPEN.format(alias=alias)})")


def is_refused(alias: str) -> Any:
    """The queued messages (under this alias) that WaSender refused without that counting as an attempt."""
    return literal_column(f"({_REFUSED.format(alias=alias)})")


def rested(waiting: Any) -> Any:
    """Was it never refused, or is its pause after that over?"""
    return or_(waiting.refused_at.is_(None), waiting.retry_at <= bindparam("now"))


def unacked(channel: Any = Channel) -> Any:
    """How many messages of a channel fill its window: being sent, or accepted without a tick.

    What an outage may have swallowed is judged by other rules, what later messages have overtaken says nothing about
    the channel, and what a webhook has found without WaSender's id cannot be asked about: none of them counts.
    """
    pending = aliased(Message, name="pending")
    return (
        select(func.count())
        .select_from(pending)
        .where(
            pending.channel_id == channel.id,
            is_open("pending"),
            or_(
                pending.state == literal_column("'sending'"),
                and_(
                    pending.state == literal_column("'accepted'"),
                    pending.gateway_msg_id.is_not(None),
                    or_(channel.suspect_before.is_(None), pending.accepted_at >= channel.suspect_before),
                    or_(channel.overtaken_before.is_(None), pending.accepted_at >= channel.overtaken_before),
                ),
            ),
        )
        .correlate(Channel)
        .scalar_subquery()
    )


def recipient_waits(waiting: Any, *, heeding_suspects: bool = True) -> Any:
    """Is another message to the same recipient under way, or in a state from which it may have to be sent again?

    Then a later one has to wait, or it could overtake the other. A healthy channel's accepted message does not count.
    What was refused and steps aside for others does not step aside for its own recipient's later ones of its rank.
    """
    return or_(_open_to(waiting, heeding_suspects), _refused_before(waiting))


def _open_to(waiting: Any, heeding_suspects: bool) -> Any:
    earlier = aliased(Message, name="earlier")
    may_follow = earlier.state == literal_column("'accepted'")
    if heeding_suspects:
        may_follow = and_(
            may_follow, or_(Channel.suspect_before.is_(None), earlier.accepted_at >= Channel.suspect_before)
        )
    return exists(
        select(literal_column("1"))
        .select_from(earlier)
        .where(
            earlier.channel_id == Channel.id,
            earlier.recipient == waiting.recipient,
            is_open("earlier"),
            ~may_follow,
        )
        .correlate(Channel, waiting)
    )


def _refused_before(waiting: Any) -> Any:
    refused = aliased(Message, name="refused")
    return exists(
        select(literal_column("1"))
        .select_from(refused)
        .where(
            refused.channel_id == Channel.id,
            refused.recipient == waiting.recipient,
            is_refused("refused"),
            refused.priority == waiting.priority,
            or_(
                refused.due_at < waiting.due_at,
                and_(refused.due_at == waiting.due_at, refused.seq < waiting.seq),
            ),
        )
        .correlate(Channel, waiting)
    )
