"""Evidence: asks WaSender what became of accepted messages, so that a status rests on WhatsApp's own tick.

What evidence says about messages also says whether their channel is alive: ticks widen its window and end a mute
spell, and a silence that lasts makes it mute.
"""

import time
from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from itertools import chain

import structlog
from sqlalchemy import Connection

from worker.asking import Questions
from worker.channels import states, window
from worker.database import snapshot, transaction
from worker.domain.channel_state import ChannelState, remedy
from worker.domain.window import is_mute, patience_s
from worker.outbox import webhook_facts
from worker.outbox.events import Source
from worker.outbox.questions import give_back_checks, next_due_at, take_due_checks
from worker.outbox.ticks import Evidence, Tick
from worker.parts import Parts

log = structlog.get_logger(__name__)

#: A run hands over to the next one after this.
RUN_S = 20.0
#: How often a run looks for messages that have become due.
LOOK_EVERY_S = 0.5
#: How often it looks for channels that have fallen silent.
LISTEN_EVERY_S = 1.0
#: The ticks of so many channels share one commit. Their rows are locked meanwhile, and sending waits for them.
CHANNELS_AT_ONCE = 16


def reconcile_messages(parts: Parts) -> bool:
    """Ask about the messages that are due, for `RUN_S` seconds. True when sending can go on by that.

    Harmless when run twice at once: a message is asked about by one run only.
    """
    wake, listen_at = False, 0.0
    ends_at = time.monotonic() + RUN_S
    with Questions(parts) as questions:
        while not parts.stopping.is_set() and time.monotonic() < ends_at:
            with transaction(parts.engine) as connection:
                due = take_due_checks(connection, now=parts.clock(), most=questions.room)
            questions.ask(due)
            wake |= _learn_answers(parts, questions)
            if time.monotonic() >= listen_at:
                wake |= notice_silence(parts)
                listen_at = time.monotonic() + LISTEN_EVERY_S
            if not questions and not _wait_for_next(parts, ends_at):
                break
        if left := questions.give_up():
            with transaction(parts.engine) as connection:
                give_back_checks(connection, left, now=parts.clock())
        while questions:
            wake |= _learn_answers(parts, questions)
    return wake


def _learn_answers(parts: Parts, questions: Questions) -> bool:
    learnt = questions.answers(LOOK_EVERY_S)
    wake, channel_ids = False, sorted(learnt)
    while channel_ids:
        some, channel_ids = channel_ids[:CHANNELS_AT_ONCE], channel_ids[CHANNELS_AT_ONCE:]
        ticks = list(chain.from_iterable(learnt[channel_id] for channel_id in some))
        wake |= apply_ticks(parts, ticks, some, source=Source.INFO)
    return wake


def _wait_for_next(parts: Parts, ends_at: float) -> bool:
    """Wait a moment if another question is due before the next run would be; False where none is."""
    with snapshot(parts.engine) as connection:
        due_at = next_due_at(connection)
    now = parts.clock()
    if due_at is None or due_at > now + timedelta(seconds=parts.settings.reconcile_interval_s):
        return False
    wait_s = min(LOOK_EVERY_S, max(0.05, (due_at - now).total_seconds()))
    return time.monotonic() + wait_s < ends_at and not parts.stopping.wait(wait_s)


def apply_ticks(parts: Parts, ticks: Sequence[Tick], channel_ids: Collection[int], *, source: Source) -> bool:
    """Write down what was learnt about attempts of these channels. True when sending can go on by that."""
    if not ticks:
        return False
    now = parts.clock()
    with transaction(parts.engine) as connection:
        window.lock(connection, channel_ids)
        return learn(connection, parts, ticks, now=now, source=source)


def learn(connection: Connection, parts: Parts, ticks: Sequence[Tick], *, now: datetime, source: Source) -> bool:
    """The same within a transaction that has locked the channels."""
    settings = parts.settings
    evidence = Evidence(connection, [tick.attempt_id for tick in ticks], now=now, source=source)
    for tick in ticks:
        evidence.apply(tick, settle_s=settings.settle_s, ack_timeout_s=settings.ack_timeout_s)
    ticked = window.count_ticks(
        connection,
        evidence.write(),
        now=now,
        most_unacked=settings.max_unacked,
        ack_timeout_s=settings.ack_timeout_s,
    )
    for channel_id, state in ticked.items():
        if state is not ChannelState.UP:
            states.ticked(connection, channel_id, now=now, source=source)
    webhook_facts.wake_parked(connection, evidence.new_key_ids, now)
    return bool(ticked)


def notice_silence(parts: Parts) -> bool:
    """Find channels that call themselves connected while nothing gets through. True when one was found."""
    now = parts.clock()
    ack_timeout_s = parts.settings.ack_timeout_s
    with snapshot(parts.engine) as connection:
        silent = window.silent_channels(connection, now=now, ack_timeout_s=ack_timeout_s)
    found = False
    for row, silence in silent:
        patient_s = patience_s(ack_timeout_s, row.tick_latency_s)
        if not is_mute(silence, window=row.unacked_window, patience_s=patient_s):
            continue
        evidence = {
            "unticked": silence.outstanding,
            "oldest_s": round(silence.oldest_s, 1),
            "patience_s": round(patient_s, 1),
            "asked": silence.asked,
        }
        with transaction(parts.engine) as connection:
            news = states.go_mute(connection, row.id, "no_ticks", now=now, source=Source.INFO, evidence=evidence)
        if news:
            advice = remedy(ChannelState.MUTE, "no_ticks", row.name)
            log.warning("channel_state", channel=row.name, state="mute", advice=advice, **evidence)
        found |= news
    return found
