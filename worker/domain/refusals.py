"""Refusals that do not count as attempts: how long their message steps aside for others, and when it is given up.

A refusal says as much about the channel as about the message. Only where others were taken and ticked between two of
them is it the message, so an outage in which every send is refused costs no message anything.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Self

from worker.domain.retry import backoff_s

#: A message that was refused so many times while its channel had others ticked is not tried again. With the pauses in
#: between that is some three minutes. A session that flaps can refuse one send in three, for no fault of the message.
MOST_REFUSALS = 10
#: How long it steps aside, in seconds: doubling from the first to the most. The channel rests as well meanwhile.
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.5, 60.0
#: From so many on it is known that others were taken in between, so that its refusals say little about the channel.
KNOWN_TO_BE_ITS_OWN = 2

GIVEN_UP_CODE = "refused_repeatedly"
GIVEN_UP_SENTENCE = (
    "WaSender refused this message again and again while it took others, so it is not tried any more; nothing was "
    "sent. WaSender's own words stand in the last attempt. Correct the message or its recipient in the CRM and send "
    "it anew; if nothing is wrong with it, truetick resend ID tries again."
)


@dataclass(frozen=True, kw_only=True)
class Refusals:
    """What is known of the refusals of one message."""

    count: int = 0
    #: When it was refused so that it counted, the last time.
    refused_at: datetime | None = None
    #: It steps aside until then.
    retry_at: datetime | None = None

    @classmethod
    def of(cls, row: Any) -> Self:
        """Those in a row that has the message's columns."""
        return cls(count=row.refusals, refused_at=row.refused_at, retry_at=row.retry_at)

    def after_another(self, at: datetime, *, ticked_through: datetime | None) -> Self:
        """With one more. It counts if it is the first one, or another was taken since one that counted, and ticked.

        `ticked_through` is when the latest of the ticked messages was accepted: the tick of one that was accepted
        earlier says nothing, however late it is learnt. Nor does a refusal that does not count make it say nothing.
        """
        counted_at = self.refused_at
        counts = counted_at is None or (ticked_through is not None and ticked_through > counted_at)
        count = self.count + counts
        pause_s = backoff_s(count, first_s=FIRST_PAUSE_S, most_s=LONGEST_PAUSE_S)
        return type(self)(
            count=count, refused_at=at if counts else counted_at, retry_at=at + timedelta(seconds=pause_s)
        )

    @property
    def is_given_up(self) -> bool:
        return self.count >= MOST_REFUSALS
