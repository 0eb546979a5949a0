"""Judges our own side: broker, workers, beat, database, and what is stuck."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from worker.channels.overview import FRESH_INTERVALS
from worker.diagnosis.broker_line import QueueLook, WorkerReport
from worker.diagnosis.facts import Facts, Trouble
from worker.diagnosis.finding import Finding, Verdict, general
from worker.domain.channel_state import ChannelState
from worker.domain.durations import lasting
from worker.revisions import head
from worker.self_report import CRM_QUEUE, DRAIN_QUEUE, UPKEEP_QUEUE, truetick_version

V = Verdict

#: More tasks than this do not wait where workers take them. CRMs may enqueue by the thousand at once.
MOST_WAITING = {CRM_QUEUE: 5000, DRAIN_QUEUE: 100, UPKEEP_QUEUE: 200}
#: A broker is as good as full at this share of its memory.
NEARLY_FULL = 0.95
KEEPS_ALL = "noeviction"
#: A check's next due time lies this share of the interval ahead: see `worker.health`.
CHECK_SHARE = 0.8

_START_WORKER = "Start one: truetick up (or celery -A worker worker). Its log says why it stopped."
_START_BEAT = "Start it: truetick up (or celery -A worker beat). Its log says why it stopped."
_START_BROKER = "Start Redis or Valkey, and check CELERY_BROKER_URL. Messages that are stored are not lost meanwhile."
_BROKER_REMEDIES = {
    "broker_away": _START_BROKER,
    "broker_full": "Give it more memory (maxmemory), with the policy noeviction. CRMs cannot enqueue by it now.",
    "broker_read_only": "Point CELERY_BROKER_URL at the primary server.",
}


def queue(facts: Facts) -> Finding:
    look = facts.queue
    if isinstance(look, Trouble):
        return general("queue", V.FAILED, look.code, look.sentence, _broker_remedy(facts, look.code))
    if look.waiting is None:
        return general("queue", V.OK, "answers", "The broker answers; how much waits in it cannot be asked.")
    waiting = ", ".join(f"{name} {count}" for name, count in look.waiting.items())
    if look.most_bytes and (look.used_bytes or 0) >= NEARLY_FULL * look.most_bytes:
        said = f"The broker uses {_megabytes(look.used_bytes or 0)} of its {_megabytes(look.most_bytes)} MB."
        return general("queue", V.FAILED, "nearly_full", said, _BROKER_REMEDIES["broker_full"])
    piled = [name for name, most in MOST_WAITING.items() if look.waiting.get(name, 0) > most]
    if piled:
        said = f"Tasks pile up: nobody takes them fast enough. Waiting: {waiting}."
        advice = f"See the check of the workers. {_START_WORKER} Wake-ups that are old do no harm."
        return general("queue", V.FAILED, "piling_up", said, advice)
    if look.most_bytes and look.policy not in {"", KEEPS_ALL}:
        said = f"The broker answers, but once it is full it throws tasks away (maxmemory-policy {look.policy})."
        return general("queue", V.FAILED, "evicts", said, f"Set its maxmemory-policy to {KEEPS_ALL}.")
    return general("queue", V.OK, "answers", f"The broker takes tasks. Waiting: {waiting}.{_room(look)}")


def _broker_remedy(facts: Facts, code: str) -> str:
    if code == "broker_away" and facts.settings.one_machine_broker:
        return "Start everything on this machine: truetick up. Or is CELERY_BROKER_URL missing here?"
    return _BROKER_REMEDIES.get(code, _START_BROKER)


def _room(look: QueueLook) -> str:
    if not look.most_bytes:
        return ""
    return f" It uses {_megabytes(look.used_bytes or 0)} of {_megabytes(look.most_bytes)} MB."


def _megabytes(count: int) -> str:
    return f"{count / 1e6:.0f}"


def workers(facts: Facts) -> Finding:
    found, checked_at = facts.workers, last_check(facts)
    fresh = _is_fresh(facts, checked_at)
    lately = f" Channels were checked {lasting(facts.now - checked_at)} ago." if checked_at and fresh else ""
    if isinstance(found, Trouble):
        said = f"They are asked through the broker, which does not work. {found.sentence}{lately}"
        return general("workers", V.UNVERIFIED, found.code, said, _broker_remedy(facts, found.code))
    known = [worker for worker in found if worker.is_ours]
    if not known:
        others = _others(found)
        if fresh:
            said = f"None answers at present.{lately} They may be very busy, or have stopped just now.{others}"
            return general("workers", V.UNVERIFIED, "silent", said, f"Check again in a minute. {_START_WORKER}")
        said = f"No worker answers, so nothing is sent; messages are stored and wait.{others}"
        return general("workers", V.FAILED, "none", said, _START_WORKER)
    named = ", ".join(_worker(worker) for worker in known[:5]) + (", …" if len(known) > 5 else "")
    count = "One answers" if len(known) == 1 else f"{len(known)} answer"
    ours = head()
    if any(worker.schema != ours for worker in known):
        said = f"{count}: {named}. Not all are of this release (Truetick {truetick_version()}, schema {ours})."
        advice = "Stop everything, run `truetick db upgrade`, and start every part of the same release."
        return general("workers", V.FAILED, "versions_differ", said, advice)
    return general("workers", V.OK, "answer", f"{count}: {named}.")


def _worker(worker: WorkerReport) -> str:
    return f"{worker.name} (Truetick {worker.truetick}, Celery {worker.celery})"


def _others(found: Sequence[WorkerReport]) -> str:
    """A CRM's own workers on the same broker send nothing, though they answer."""
    if not found:
        return ""
    named = ", ".join(worker.name for worker in found[:5]) + (", …" if len(found) > 5 else "")
    return f" On the same broker others answer, which are not Truetick's: {named}."


def beat(facts: Facts) -> Finding:
    beats, checked_at = facts.beats, last_check(facts)
    every = f"every {facts.settings.check_interval_s:g} s"
    if isinstance(facts.database, Trouble):
        if not isinstance(beats, Trouble) and beats:
            said = "Beat answers; whether its ticks do anything cannot be seen while the database cannot be read."
            return general("beat", V.UNVERIFIED, "database", said, "Mend the database first: see its own check.")
        return general("beat", V.UNVERIFIED, "database", "Neither beat nor the database tells.", _START_BEAT)
    if _is_fresh(facts, checked_at):
        assert checked_at is not None
        said = f"Workers took up a check {lasting(facts.now - checked_at)} ago; one is due {every}."
        if isinstance(beats, Trouble) or beats:
            return Finding(check="beat", verdict=V.OK, code="ticking", evidence=said, evidence_at=checked_at)
        silent = f"{said} But no beat answers, so it may have been the last one."
        return general("beat", V.UNVERIFIED, "silent", silent, f"Check again in a minute. {_START_BEAT}")
    last = f"was taken up {lasting(facts.now - checked_at)} ago" if checked_at else "has never been taken up"
    stale = f"A check of the channels {last}; one is due {every}. So nothing that is said of channels is fresh."
    if not isinstance(beats, Trouble) and beats:
        if not _any_to_check(facts):
            return general("beat", V.OK, "nothing_to_check", "Beat answers. There is no channel that wants checking.")
        said = f"{stale} Beat does answer, so it is the workers that do not keep up, or cannot reach the database."
        return general("beat", V.FAILED, "workers_behind", said, f"See the check of the workers. {_START_WORKER}")
    if isinstance(beats, Trouble):
        said = f"{stale} Beat is asked through the broker. {beats.sentence}"
        return general("beat", V.FAILED, "stale", said, _START_BEAT)
    return general("beat", V.FAILED, "none", f"{stale} No beat answers.", _START_BEAT)


def last_check(facts: Facts) -> datetime | None:
    """When a worker last took up the question about a channel, answered or not: it moves the next one's due time.

    Whoever adds or resumes a channel moves that, too, to the very moment at which its state changes.
    """
    if isinstance(facts.database, Trouble):
        return None
    ahead = timedelta(seconds=facts.settings.check_interval_s * CHECK_SHARE)
    taken = [
        min(facts.now, max(row.check_due_at - ahead, row.checked_at or row.created_at))
        for row in (channel.row for channel in facts.database.channels)
        if row.state is not ChannelState.PAUSED and row.check_due_at not in {row.created_at, row.since}
    ]
    return max(taken, default=None)


def _is_fresh(facts: Facts, checked_at: datetime | None) -> bool:
    most = timedelta(seconds=facts.settings.check_interval_s * FRESH_INTERVALS)
    return checked_at is not None and facts.now - checked_at <= most


def _any_to_check(facts: Facts) -> bool:
    channels = [] if isinstance(facts.database, Trouble) else facts.database.channels
    return any(channel.row.state is not ChannelState.PAUSED for channel in channels) or not channels


def database(facts: Facts) -> Finding:
    found = facts.database
    if not isinstance(found, Trouble):
        named = {"postgresql": "PostgreSQL", "sqlite": "SQLite"}.get(found.backend, found.backend)
        said = f"{named} answers, at revision {head()}; this look took {found.took_s:.2f} s."
        return general("database", V.OK, "migrated", said)
    advice = {
        "no_database": "Run: truetick db upgrade (or truetick up, which does it by itself).",
        "database_not_migrated": "Run: truetick db upgrade (or truetick up, which does it by itself).",
    }.get(found.code, "Start the database, and check DATABASE_URL. CRMs' tasks wait in the broker and are not lost.")
    return general("database", V.FAILED, found.code, found.sentence, advice)


def backlog(facts: Facts) -> Finding:
    if isinstance(facts.database, Trouble):
        return general("backlog", V.UNVERIFIED, "database", "What waits cannot be read.", "See the database's check.")
    standings = [channel.standing for channel in facts.database.channels]
    pending, attention = sum(one.pending for one in standings), sum(one.attention for one in standings)
    waits = "No message waits." if not pending else f"{_count(pending, 'message')} not ticked yet."
    if facts.database.outages:
        said = f"{_outages(facts)} {waits}"
        return general("backlog", V.FAILED, "outage", said, "See: truetick outages --open, and the channel's checks.")
    if attention:
        said = f"{_count(attention, 'message')} waiting for a person to decide. {waits}"
        advice = "List them: truetick messages --status pending; then truetick why ID says what to do about each."
        return general("backlog", V.FAILED, "attention", said, advice)
    return general("backlog", V.OK, "flows", f"There is no outage. {waits}")


def _outages(facts: Facts) -> str:
    assert not isinstance(facts.database, Trouble)
    open_ones = list(facts.database.outages.items())
    told: Sequence[str] = [f"{name} ({state}) for {lasting(facts.now - at)}" for name, (state, at) in open_ones[:5]]
    more = f" and {len(open_ones) - 5} more" if len(open_ones) > 5 else ""
    return f"Outage{'s' if len(open_ones) > 1 else ''} going on: {', '.join(told)}{more}."


def _count(count: int, what: str) -> str:
    return f"One {what} is" if count == 1 else f"{count:,} {what}s are"
