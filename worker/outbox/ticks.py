"""Evidence of delivery: what WhatsApp's acknowledgements make of a message, and what they say about its channel.

A tick belongs to an attempt, for a message that was sent again has several, and more than one of them may arrive.
"""

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, bindparam, select, update

from worker.domain import window as rules
from worker.domain.channel_state import ChannelState
from worker.domain.evidence import Ack, MessageInfo
from worker.domain.message_status import TICKED_STATES, MessageState, state_after_ack
from worker.models import Attempt, Channel, Message
from worker.outbox.events import Source, event, record
from worker.outbox.questions import next_check

#: Answers of message info that say nothing because WaSender could not be asked, not because it knows nothing.
NOT_ANSWERED = frozenset({"gateway_unreachable", "timeout", "connection_lost", "gateway_error", "throttled"})
#: `problem` of answers that are about the message: how far it got, that nobody knows, that there is no such one.
_ANSWERS = frozenset({None, "no_status", "no_information"})


#: A tick that was learnt longer than this after the last look at its message may have been there all the time.
LOOKED_LATELY = timedelta(seconds=60)


@dataclass(frozen=True, kw_only=True)
class Tick:
    """What was learnt about one attempt."""

    attempt_id: int
    info: MessageInfo
    #: It says that the attempt failed, but may mean another one: message info is asked all the same.
    unsure: bool = False


@dataclass(kw_only=True)
class ChannelTicks:
    """What a batch of evidence means for one channel."""

    channel_id: int
    #: Which of the channel's counters it belongs to.
    counter: str
    moved: int = 0
    #: How many attempts got their first tick now.
    first_ticks: int = 0
    #: From acceptance to that tick, in seconds; not of what an outage or our own absence held up, for that would say
    #: nothing about the channel.
    latencies_s: list[float] = field(default_factory=list)
    #: The longest such time among those that an outage held up, infinite if it is not known; a slow channel's, if
    #: time was all it took.
    held_up_s: float = 0.0
    #: When the latest-accepted one of them was accepted.
    through: datetime | None = None


#: The columns of a message that every answer changes, and those that only news changes.
_ASKED = ("next_check_at", "checks", "asked_at")
_NEWS = (
    *("state", "attention", "duplicates", "error_code", "error_message", "gateway_msg_id", "whatsapp_key_id"),
    *("whatsapp_jid", "accepted_at", "sent_at", "delivered_at", "read_at"),
)
_COLUMNS = (*("seq", "channel_id", "attempts", "created_at"), *_ASKED, *_NEWS)
_ATTEMPT_COLUMNS = (
    *("id", "message_seq", "number", "finished_at", "gateway_msg_id"),
    *("whatsapp_key_id", "ack", "ticked_at"),
)


def _update(*columns: str) -> Any:
    values: dict[str, Any] = {name: bindparam(f"_{name}") for name in columns}
    return update(Message).where(Message.seq == bindparam("_seq")).values(values)


_LEARN, _LEARN_NOTHING = _update(*_ASKED, *_NEWS), _update(*_ASKED)
_LEARN_OF_ATTEMPT = (
    update(Attempt)
    .where(Attempt.id == bindparam("_id"))
    .values(
        whatsapp_key_id=bindparam("_key_id"),
        ack=bindparam("_ack"),
        ticked_at=bindparam("_ticked_at"),
    )
)
#: The counter of `channels` for each way of learning.
_COUNTERS = {Source.WEBHOOK: "ticks_by_webhook"}


def counter_of(source: Source) -> str:
    """The column of `channels` that counts what was learnt of its messages in this way."""
    return _COUNTERS.get(source, "ticks_by_asking")


class Evidence:
    """One batch of evidence, applied to messages and attempts that are read and locked once.

    The rows of the channels have to be locked before (`channels.window.lock`).
    """

    def __init__(
        self, connection: Connection, attempt_ids: Collection[int], *, now: datetime, source: Source
    ) -> None:
        self._connection = connection
        self._now = now
        self._source = source
        seqs = select(Attempt.message_seq).where(Attempt.id.in_(attempt_ids))
        self._messages = {
            row.seq: dict(row._mapping)
            for row in connection.execute(
                select(
                    *(getattr(Message, name) for name in _COLUMNS),
                    Channel.state.label("channel_state"),
                    Channel.since.label("channel_since"),
                    *(Channel.suspect_before, Channel.tick_latency_s),
                )
                .join(Channel, Channel.id == Message.channel_id)
                .where(Message.seq.in_(seqs))
                .order_by(Message.seq)
                .with_for_update(of=Message, key_share=True)
            )
        }
        self._attempts = {
            row.id: dict(row._mapping)
            for row in connection.execute(
                select(*(getattr(Attempt, name) for name in _ATTEMPT_COLUMNS)).where(
                    Attempt.message_seq.in_(list(self._messages))
                )
            )
        }
        self._before = {seq: _news(message) for seq, message in self._messages.items()}
        self._events: list[dict[str, Any]] = []
        self._touched: dict[int, dict[str, Any]] = {}
        self._touched_attempts: dict[int, dict[str, Any]] = {}
        self._of_channels: dict[int, ChannelTicks] = {}
        self.new_key_ids: dict[int, set[str]] = {}

    def apply(self, tick: Tick, *, settle_s: float = 0.0, ack_timeout_s: float = 0.0) -> None:
        """Move a message by what WhatsApp acknowledged of one of its attempts; forward only."""
        attempt = self._attempts.get(tick.attempt_id)
        if attempt is None:
            return
        message = self._messages[attempt["message_seq"]]
        looked_at = max(attempt["finished_at"], message["asked_at"] or attempt["finished_at"])
        before = message["state"]
        after = self._state_after(attempt, message, tick.info)
        # A failure that moves nothing now is kept for a later judgement only if it surely means this attempt.
        kept = replace(tick.info, ack=None) if tick.unsure and after is before else tick.info
        first = self._learn_attempt(attempt, message, kept)
        if first:
            message["duplicates"] = self._ticked_attempts(message["seq"]) - 1
        self._learn_message(attempt, message, tick.info, after)
        if tick.info.ack is Ack.ERROR and after is MessageState.FAILED and not tick.unsure:
            message["next_check_at"] = None
        elif after is MessageState.FAILED and after is not before:
            message["next_check_at"] = self._now
        else:
            settle = timedelta(seconds=rules.settle_s(settle_s, ack_timeout_s, message["tick_latency_s"]))
            message["next_check_at"] = next_check(message, now=self._now, settle=settle)
        self._touched[message["seq"]] = message
        if after is not before:
            self._note(message, attempt, tick.info, before)
            self._of_channel(message).moved += 1
        if first and message["duplicates"]:
            self._note(message, attempt, tick.info, after, reason="duplicate")
        if first:
            accepted_at = attempt["finished_at"]
            ticks = self._of_channel(message)
            ticks.first_ticks += 1
            held_up = message["suspect_before"] is not None and accepted_at < message["suspect_before"]
            looked_lately = self._now - looked_at <= LOOKED_LATELY
            latency_s = (self._now - accepted_at).total_seconds()
            if held_up:
                ticks.held_up_s = max(ticks.held_up_s, latency_s if looked_lately else math.inf)
            elif looked_lately:
                ticks.latencies_s.append(latency_s)
            ticks.through = max(ticks.through or accepted_at, accepted_at)

    def write(self) -> list[ChannelTicks]:
        """Store everything. Returns what it means for each channel."""
        if self._touched_attempts:
            self._connection.execute(
                _LEARN_OF_ATTEMPT,
                [
                    {
                        "_id": row["id"],
                        "_key_id": row["whatsapp_key_id"],
                        "_ack": row["ack"],
                        "_ticked_at": row["ticked_at"],
                    }
                    for row in self._touched_attempts.values()
                ],
            )
        moved = [row for seq, row in self._touched.items() if _news(row) != self._before[seq]]
        asked = [row for seq, row in self._touched.items() if _news(row) == self._before[seq]]
        if moved:
            self._connection.execute(_LEARN, [_values(row, *_ASKED, *_NEWS) for row in moved])
        if asked:
            self._connection.execute(_LEARN_NOTHING, [_values(row, *_ASKED) for row in asked])
        record(self._connection, self._events)
        return [self._of_channels[channel_id] for channel_id in sorted(self._of_channels)]

    def _learn_attempt(self, attempt: dict[str, Any], message: dict[str, Any], info: MessageInfo) -> bool:
        """Returns whether this is the attempt's first tick."""
        key_id = attempt["whatsapp_key_id"] or info.whatsapp_key_id
        ack = max((code for code in (attempt["ack"], info.ack) if code is not None), key=_weight, default=None)
        first = attempt["ticked_at"] is None and ack is not None and ack >= Ack.SERVER
        if key_id != attempt["whatsapp_key_id"]:
            self.new_key_ids.setdefault(message["channel_id"], set()).add(str(key_id))
        if first or (key_id, ack) != (attempt["whatsapp_key_id"], attempt["ack"]):
            attempt |= {"whatsapp_key_id": key_id, "ack": None if ack is None else int(ack)}
            if first:
                attempt["ticked_at"] = self._now
            self._touched_attempts[attempt["id"]] = attempt
        return first

    def _state_after(self, attempt: dict[str, Any], message: dict[str, Any], info: MessageInfo) -> MessageState:
        state: MessageState = message["state"]
        superseded = attempt["number"] != message["attempts"] or state is MessageState.QUEUED
        if info.ack is None or (info.ack is Ack.ERROR and (superseded or _may_be_the_outages(message))):
            return state
        return state_after_ack(state, info.ack) or state

    def _ticked_attempts(self, seq: int) -> int:
        return sum(row["message_seq"] == seq and row["ticked_at"] is not None for row in self._attempts.values())

    def _learn_message(
        self, attempt: dict[str, Any], message: dict[str, Any], info: MessageInfo, after: MessageState
    ) -> None:
        moved = after is not message["state"]
        reached = TICKED_STATES.index(after) if after in TICKED_STATES else -1
        message["state"] = after
        message["checks"] = 0 if moved else message["checks"] + 1
        message["whatsapp_key_id"] = info.whatsapp_key_id or message["whatsapp_key_id"]
        message["whatsapp_jid"] = info.whatsapp_jid or message["whatsapp_jid"]
        message["gateway_msg_id"] = message["gateway_msg_id"] or attempt["gateway_msg_id"]
        if self._source is Source.INFO and info.problem in _ANSWERS:
            message["asked_at"] = self._now
        if reached >= 0:
            message |= {"error_code": None, "error_message": None, "attention": None}
            message["accepted_at"] = message["accepted_at"] or attempt["finished_at"]
            for column in ("sent_at", "delivered_at", "read_at")[: reached + 1]:
                message[column] = message[column] or self._now
        elif moved and after is MessageState.FAILED:
            message["attention"] = None
            message["error_code"] = "whatsapp_error"
            message["error_message"] = (
                "WhatsApp could not deliver this message. Check the number in the CRM; it will not be retried."
            )

    def _note(
        self,
        message: dict[str, Any],
        attempt: dict[str, Any],
        info: MessageInfo,
        before: MessageState,
        *,
        reason: str | None = None,
    ) -> None:
        evidence: dict[str, Any] = {"attempt": attempt["number"]}
        if attempt["gateway_msg_id"] is not None:
            evidence["gateway_msg_id"] = attempt["gateway_msg_id"]
        if info.ack is not None:
            evidence["ack"] = int(info.ack)
        if attempt["whatsapp_key_id"]:
            evidence["whatsapp_key_id"] = attempt["whatsapp_key_id"]
        self._events.append(
            event(
                message_seq=message["seq"],
                channel_id=message["channel_id"],
                at=self._now,
                source=self._source,
                before=before,
                after=message["state"],
                reason=reason or (Ack(info.ack).name.lower() if info.ack is not None else ""),
                evidence=evidence,
            )
        )

    def _of_channel(self, message: dict[str, Any]) -> ChannelTicks:
        channel_id: int = message["channel_id"]
        ticks = ChannelTicks(channel_id=channel_id, counter=counter_of(self._source))
        return self._of_channels.setdefault(channel_id, ticks)


def _news(message: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(message[name] for name in _NEWS)


def _values(message: dict[str, Any], *columns: str) -> dict[str, Any]:
    return {"_seq": message["seq"]} | {f"_{name}": message[name] for name in columns}


def _weight(ack: int) -> float:
    """An error is the end of waiting, and a tick is stronger still."""
    return Ack.PENDING + 0.5 if ack == Ack.ERROR else ack


def _may_be_the_outages(message: dict[str, Any]) -> bool:
    """Did WaSender fail to send it because the session was gone? Then it may well go out now (see `worker.doubt`)."""
    if message["state"] is not MessageState.ACCEPTED or message["accepted_at"] is None:
        return False
    suspect_before = message["suspect_before"]
    suspect = suspect_before is not None and message["accepted_at"] < suspect_before
    return suspect or message["channel_state"] in {ChannelState.DOWN, ChannelState.MUTE}


def attempts_by_key(connection: Connection, channel_id: int, key_ids: Collection[str]) -> dict[str, int]:
    """The attempts (ids) of a channel that WhatsApp knows by these key ids."""
    rows: Sequence[Any] = connection.execute(
        select(Attempt.whatsapp_key_id, Attempt.id)
        .join(Message, Message.seq == Attempt.message_seq)
        .where(Attempt.whatsapp_key_id.in_(key_ids), Message.channel_id == channel_id)
    ).all()
    return {row.whatsapp_key_id: row.id for row in rows}
