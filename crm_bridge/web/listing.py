"""Lists messages, page by page, the newest first."""

import base64
import binascii
from typing import Annotated, Any

from pydantic import Field

from crm_bridge.web.answers import State, Status
from crm_bridge.web.problems import Problem
from crm_bridge.web.query import WHOLE, Moment, Query
from worker.channels import registry
from worker.database import snapshot
from worker.domain.errors import InvalidNumber, NotFound
from worker.domain.message_request import Label
from worker.domain.phone import normalise_recipient
from worker.outbox import reading
from worker.outbox.reading import Filters
from worker.parts import Parts

MOST_LISTED = 200
_LONGEST_CURSOR = 64


class ListQuery(Query):
    status: Annotated[Status | State | None, Field(description="A status, or a pending message's state.")] = None
    channel: Annotated[
        str | None, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,63}$", description="The channel's name.")
    ] = None
    to: Annotated[
        Label | None, Field(description="The recipient, however the number is written.", examples=["70330 09600"])
    ] = None
    crm_ref: Annotated[Label | None, Field(description="What the CRM calls it.")] = None
    attention: Annotated[
        bool | None, Field(description="true: those that wait for a person's decision; false: all others.")
    ] = None
    created_after: Annotated[
        Moment | None,
        Field(description="ISO 8601 with a zone; the first moment that counts.", examples=["2026-11-22T00:00:00Z"]),
    ] = None
    created_before: Annotated[
        Moment | None, Field(description="ISO 8601 with a zone; the first moment that does not count any more.")
    ] = None
    limit: Annotated[int, Field(ge=1, le=MOST_LISTED, description="At most so many."), WHOLE] = 50
    cursor: Annotated[
        str | None,
        Field(min_length=1, max_length=_LONGEST_CURSOR, description="`next` of the page before, as it is."),
    ] = None


def list_messages(parts: Parts, query: ListQuery) -> dict[str, Any]:
    """One page, and the cursor of the next one; None at the end. Raises Problem (422)."""
    filters = _filters(query, parts.settings.default_region)
    with snapshot(parts.engine) as connection:
        if query.channel is not None:
            try:
                registry.channel_id(connection, query.channel)
            except NotFound as error:  # a filter that finds nothing because of a typing error
                raise Problem(422, error.code, error.message) from None
        found = reading.list_messages(connection, filters, now=parts.clock(), limit=query.limit + 1)
    page = found[: query.limit]
    return {
        "messages": [message.as_json() for message in page],
        "next": _cursor(page[-1].seq) if len(found) > len(page) else None,
    }


def _filters(query: ListQuery, region: str) -> Filters:
    recipient = _address(query.to, region) if query.to else None
    return Filters(
        status=query.status,
        channel=query.channel,
        recipient=recipient,
        unreadable=None if recipient else query.to,
        crm_ref=query.crm_ref,
        attention=query.attention,
        created_after=query.created_after,
        created_before=query.created_before,
        before_seq=_seq(query.cursor) if query.cursor else None,
    )


def _address(written: str, region: str) -> str | None:
    """The recipient as it is stored; None for what is no number, which is looked for as it was written."""
    try:
        return normalise_recipient(written, region).address
    except InvalidNumber:
        return None


def _cursor(seq: int) -> str:
    return base64.urlsafe_b64encode(f"before:{seq}".encode()).decode().rstrip("=")


def _seq(cursor: str) -> int:
    try:
        padded = cursor + "=" * (-len(cursor) % 4)
        word, _, seq = base64.b64decode(padded, altchars=b"-_", validate=True).decode("ascii").partition(":")
    except (binascii.Error, ValueError):
        word, seq = "", ""
    if word != "before" or not seq.isdecimal() or len(seq) > 18 or _cursor(int(seq)) != cursor:
        raise Problem(422, "bad_cursor", "This cursor was not given by this list. Begin again without one.")
    return int(seq)
