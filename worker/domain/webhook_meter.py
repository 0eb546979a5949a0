"""Do WaSender's webhooks still come? Ticks are learnt by asking as well, so nobody would miss them otherwise."""

from datetime import datetime, timedelta
from enum import StrEnum

#: Ticks have gone on for so long after the last webhook: that is no chance any more.
STOPPED_AFTER = timedelta(minutes=10)


class Webhooks(StrEnum):
    #: None has ever come: they are not set up, or do not reach us.
    NEVER = "never"
    ARRIVING = "arriving"
    #: They used to come; ticks are only learnt by asking since.
    STOPPED = "stopped"


STOPPED_SENTENCE = (
    "Webhooks have stopped coming, so ticks are only learnt by asking, which takes longer. "
    "Check the webhook address and secret of the session in WaSender."
)


def webhooks(last_webhook_at: datetime | None, last_tick_at: datetime | None) -> Webhooks:
    """What the times of a channel's last webhook and last tick say."""
    if last_webhook_at is None:
        return Webhooks.NEVER
    stopped = last_tick_at is not None and last_tick_at - last_webhook_at > STOPPED_AFTER
    return Webhooks.STOPPED if stopped else Webhooks.ARRIVING
