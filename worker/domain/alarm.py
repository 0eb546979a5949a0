"""When people are told of an outage: at once, unless WaSender mends it by itself more often than not."""

from datetime import timedelta

from worker.domain.channel_state import CONNECTED_AGAIN, ChannelState

#: WaSender's words while it looks for the phone by itself. Source: the contract on session statuses; most of these
#: times are over within a minute or two.
_MENDS_ITSELF = frozenset({"connecting", "disconnected"})
PATIENCE = timedelta(minutes=3)


def alarm_after(state: ChannelState, reason: str) -> timedelta:
    """How long an outage with this state and WaSender's word may last before people are told.

    No time at all where a person has to act (scan a code, mend a key) or where nobody else would ever notice (mute).
    A word that is not known is taken for one of these. A session that is connected again is about to show by a tick
    whether that helped.
    """
    mends_itself = state is ChannelState.DOWN and reason in _MENDS_ITSELF
    shows_itself = state is ChannelState.MUTE and reason == CONNECTED_AGAIN
    return PATIENCE if mends_itself or shows_itself else timedelta(0)
