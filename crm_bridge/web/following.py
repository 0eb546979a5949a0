"""The change feed: every status change that the CRM can see, in an order without gaps, from any place on."""

from typing import Annotated, Any

from pydantic import Field

from crm_bridge.web.problems import Problem
from crm_bridge.web.query import WHOLE, Query
from worker.database import snapshot, transaction
from worker.outbox import feed, reading
from worker.parts import Parts

MOST_FOLLOWED = 500
LARGEST_PLACE = 2**63 - 1


class FollowQuery(Query):
    after: Annotated[
        int,
        Field(ge=0, le=LARGEST_PLACE, description="`next` of the answer before; 0 begins at the beginning."),
        WHOLE,
    ] = 0
    limit: Annotated[int, Field(ge=1, le=MOST_FOLLOWED, description="At most so many changes."), WHOLE] = 100


def changes(parts: Parts, query: FollowQuery) -> dict[str, Any]:
    """The changes after a place, each with its message as that is now, and the place to go on from.

    Raises Problem (422) for a place that the feed has not reached.
    """
    with snapshot(parts.engine) as connection:
        unnumbered = feed.anything_unnumbered(connection)
    if unnumbered:
        # Committed before anything is told: what is told once has its place for ever.
        with transaction(parts.engine) as connection:
            feed.number_changes(connection)
    with snapshot(parts.engine) as connection:
        last = feed.last_number(connection)
        if query.after > last:
            raise Problem(
                422,
                "ahead_of_feed",
                f"The feed ends at {last}. If the database was set back to an older state, begin again there, and "
                "look at the messages since with GET /api/messages?created_after=…",
            )
        found = feed.changes_after(connection, query.after, most=query.limit)
        messages = reading.by_seq(connection, {change.message_seq for change in found}, parts.clock())
    return {
        "messages": [
            messages[change.message_seq].as_json()
            | {"change": {"status": change.status, "at": _iso(change.at), "seq": change.feed_no}}
            for change in found
        ],
        "next": found[-1].feed_no if found else query.after,
    }


def _iso(moment: Any) -> str:
    return str(moment.isoformat()).replace("+00:00", "Z")
