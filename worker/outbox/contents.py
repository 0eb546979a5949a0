"""Stored contents made ready to be posted: quotes under WaSender's ids, files under WaSender's addresses.

Contents that name neither cost no query.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import Connection

from worker.outbox import media, quotes


@dataclass(frozen=True, kw_only=True)
class Ready:
    """What is to be posted, by seq. A file that WaSender does not have yet is still named `media:<id>`."""

    contents: dict[int, dict[str, Any]] = field(repr=False)
    #: Those that wanted to quote a message which WhatsApp cannot show.
    quote_left_out: frozenset[int]


def make_ready(connection: Connection, rows: Sequence[Any], *, now: datetime) -> Ready:
    """`rows` have seq, channel_id, recipient and content."""
    known = quotes.gateway_ids(connection, [row.content for row in rows])
    quoted = [quotes.with_gateway_id(row.content, known, row.channel_id, row.recipient) for row in rows]
    placed = media.with_public_urls(connection, quoted, now=now)
    return Ready(
        contents={row.seq: content for row, content in zip(rows, placed, strict=True)},
        quote_left_out=frozenset(
            row.seq for row, content in zip(rows, quoted, strict=True) if quotes.is_left_out(row.content, content)
        ),
    )


def as_posted(
    connection: Connection, content: dict[str, Any], *, channel_id: int, recipient: str, at: datetime
) -> dict[str, Any] | None:
    """This content as an attempt at that time posted it; None where nobody knows.

    A quote may have been left out then and be known now. That is an option of the message only: a row of the log that
    lacks it, or has it, is never taken for a clearly different message.
    """
    known = quotes.gateway_ids(connection, [content])
    return media.as_posted(connection, quotes.with_gateway_id(content, known, channel_id, recipient), at=at)
