"""Hears webhooks: takes the facts that were stored when they came, and lets them move messages and channels.

A fact may come twice, late, early or never. What cannot be placed yet is parked; what is lost is learnt by asking.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from datetime import datetime, timedelta
from functools import partial
from itertools import groupby

import structlog
from sqlalchemy import Connection

from worker import health, opt_out
from worker.channels import checks, window
from worker.database import transaction
from worker.domain.evidence import Ack, MessageInfo
from worker.domain.message_status import MessageState
from worker.domain.webhook_fact import SendFailed, SentSeen, SessionChanged, TickSeen, WishSeen
from worker.evidence import learn
from worker.outbox import matching, open_fates, webhook_facts
from worker.outbox.events import Source
from worker.outbox.ticks import Tick, attempts_by_key
from worker.outbox.webhook_facts import TakenFact
from worker.parts import Parts

log = structlog.get_logger(__name__)

BATCH = 200
#: How many channels WaSender is asked about at once.
ASKERS = 32
#: While it is asked, new facts are looked for this often at the least and at the most.
LISTEN_S, LINGER_S = 0.25, 0.05
#: A message that nobody of us sent (typed on the phone) is not waited for longer than this.
UNKNOWN_FOR = timedelta(minutes=10)


def hear_webhooks(parts: Parts, wake: Callable[[], None] = lambda: None) -> bool:
    """Use all facts that are due. True when sending can go on by that. Harmless when run twice at once.

    `wake` is called each time that it can. What WaSender has to be asked about waits for its answers beside the rest:
    a gateway that hangs holds up no tick.
    """
    woke = False
    with ThreadPoolExecutor(ASKERS, thread_name_prefix="hearing") as askers:
        asking: set[Future[bool]] = set()
        try:
            while not parts.stopping.is_set():
                with transaction(parts.engine) as connection:
                    taken = webhook_facts.take_due(connection, parts.clock(), BATCH)
                can_send = False
                for channel_id, facts in groupby(sorted(taken, key=_place), key=lambda one: one.channel_id):
                    opened, questions = _hear_channel(parts, channel_id, list(facts))
                    can_send |= opened
                    asking.update(askers.submit(question) for question in questions)
                is_last = len(taken) < BATCH
                done, asking = wait(asking, LISTEN_S if is_last and not can_send else 0, return_when=FIRST_COMPLETED)
                if any([can_send, *(answer.result() for answer in done)]):
                    woke = True
                    wake()
                if is_last and not asking:
                    break
                if is_last:
                    parts.stopping.wait(LINGER_S)
        finally:
            for question in asking:
                question.cancel()
    return woke


def _place(taken: TakenFact) -> tuple[int, int]:
    return taken.channel_id, taken.id


def _hear_channel(parts: Parts, channel_id: int, facts: Sequence[TakenFact]) -> tuple[bool, list[Callable[[], bool]]]:
    """Returns whether sending can go on by what was said, and what is left to be asked of WaSender, for answers that
    say whether it can."""
    questions: list[Callable[[], bool]] = []
    wishes = [taken for taken in facts if isinstance(taken.fact, WishSeen)]
    others = [taken for taken in facts if taken not in wishes]
    opened = bool(others) and _learn(parts, channel_id, others)
    if any(isinstance(taken.fact, SessionChanged) for taken in others):
        questions.append(partial(health.check_now, parts, channel_id))
    if wishes:  # WaSender may have to be asked who somebody is
        questions.append(partial(opt_out.hear_wishes, parts, channel_id, wishes))
    return opened, questions


def _learn(parts: Parts, channel_id: int, facts: Sequence[TakenFact]) -> bool:
    """What messages learn by these facts. True when sending can go on by that.

    Of a changed session it is noted that WaSender is to be asked about it: once, whatever becomes of this worker.
    """
    with transaction(parts.engine) as connection:
        window.lock(connection, [channel_id])
        now = parts.clock()
        # Ids first, so that the ticks that came with them find their messages.
        placed = _learn_ids(connection, parts, channel_id, facts, now)
        opened, ticked = _learn_ticks(connection, parts, channel_id, facts, now)
        changed = {taken.id for taken in facts if isinstance(taken.fact, SessionChanged)}
        if changed:
            checks.ask_now(connection, channel_id, now=now)
        done = changed | placed | ticked
        webhook_facts.use_up(connection, done)
        webhook_facts.park(connection, {taken.id for taken in facts} - done, now)
    return opened


def _learn_ids(
    connection: Connection, parts: Parts, channel_id: int, facts: Sequence[TakenFact], now: datetime
) -> set[int]:
    """Learn WhatsApp's ids of messages that went out. Returns the facts that are used up."""
    done = set()
    for taken in facts:
        if not isinstance(taken.fact, SentSeen):
            continue
        match = matching.match_sent(connection, channel_id, taken.fact, received_at=taken.received_at)
        if match.row is not None:
            if match.row.state in _FATE_OPEN and match.row.number == match.row.attempts:
                open_fates.adopt(
                    connection,
                    match.row,
                    match.row.state,
                    now=now,
                    source=Source.WEBHOOK,
                    gateway_msg_id=taken.fact.gateway_msg_id,
                    whatsapp_key_id=taken.fact.whatsapp_key_id,
                )
            info = MessageInfo(
                ack=None, whatsapp_key_id=taken.fact.whatsapp_key_id, whatsapp_jid=taken.fact.whatsapp_jid
            )
            tick = Tick(attempt_id=match.row.attempt_id, info=info)
            learn(connection, parts, [tick], now=now, source=Source.WEBHOOK)
            done.add(taken.id)
        elif not match.unclear and now - taken.received_at > UNKNOWN_FOR:
            done.add(taken.id)
    return done


#: Back in the queue, because its attempt had left no trace: here is one.
_FATE_OPEN = frozenset({MessageState.IN_DOUBT, MessageState.QUEUED})


def _learn_ticks(
    connection: Connection, parts: Parts, channel_id: int, facts: Sequence[TakenFact], now: datetime
) -> tuple[bool, set[int]]:
    """Let acknowledgements move messages. Returns whether sending can go on by that, and the facts used up."""
    seen = {taken.id: taken.fact for taken in facts if isinstance(taken.fact, TickSeen)}
    attempts = attempts_by_key(connection, channel_id, {fact.whatsapp_key_id for fact in seen.values()})
    ticks = [
        Tick(
            attempt_id=attempts[fact.whatsapp_key_id],
            info=MessageInfo(ack=fact.ack, whatsapp_key_id=fact.whatsapp_key_id, whatsapp_jid=fact.whatsapp_jid),
        )
        for fact in seen.values()
        if fact.whatsapp_key_id in attempts
    ]
    done = {number for number, fact in seen.items() if fact.whatsapp_key_id in attempts}
    for taken in facts:
        if isinstance(taken.fact, SendFailed):
            match = matching.match_failed(connection, channel_id, taken.fact, received_at=taken.received_at)
            if match.row is not None:
                unsure = taken.fact.gateway_msg_id is None
                info = MessageInfo(ack=Ack.ERROR)
                ticks.append(Tick(attempt_id=match.row.attempt_id, info=info, unsure=unsure))
            done.add(taken.id)
    return learn(connection, parts, ticks, now=now, source=Source.WEBHOOK), done
