"""Gathers the facts: all servers are asked at once, and none is waited for longer than the whole may take."""

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import TypeVar

from redis.exceptions import OutOfMemoryError, ReadOnlyError

from worker.clock import system_clock
from worker.diagnosis.broker_line import BrokerLine
from worker.diagnosis.database_look import ChannelFacts, DatabaseLook, look
from worker.diagnosis.facts import Facts, Sounding, Subject, Trouble
from worker.diagnosis.inquiries import Inquiries, Inquiry, NoAnswer
from worker.domain.channel_state import DEFAULT_CHANNEL
from worker.domain.errors import NotConfigured, NotFound, TruetickError
from worker.domain.evidence import Connection, ConnectionReport
from worker.domain.outcomes import Cause
from worker.parts import Parts
from worker.readiness import trouble_of

Answer = TypeVar("Answer")

#: The whole takes no longer than this, and the database, which says whom else to ask, no longer than that.
WITHIN_S, DATABASE_S = 8.5, 3.5
#: The account is about all channels: it is asked once for all who ask about one each.
SHARED_S = 5.0
#: How many channels WaSender is asked about; of the others the workers' last answer is judged.
MOST_SOUNDED = 8


def examine(parts: Parts, line: BrokerLine, inquiries: Inquiries, *, channel: str | None) -> Facts:
    """Ask everybody, about all channels or one. Raises NotFound for a channel that does not exist."""
    begun = time.monotonic()
    until = begun + WITHIN_S
    database = inquiries.ask("database", lambda: look(parts))
    queue = inquiries.ask("queue", line.look)
    workers, beats = inquiries.ask("workers", line.workers), inquiries.ask("beats", line.beats)
    account = inquiries.ask("account", parts.account.sessions, shared_s=SHARED_S) if parts.account else None
    stored = _database(parts, database, begun + DATABASE_S)
    subjects = _sounded(parts, inquiries, _subjects(parts, stored, channel), until)
    unreachable = None
    if not any(subject.sounding or subject.verified_at for subject in subjects):
        unreachable = _unreachable(parts, inquiries, until)
    listed = None
    if account is not None:
        listed = _or_trouble(account, until, _account_trouble)
    tasks = _or_trouble(queue, until, _broker_trouble)
    answering = _or_trouble(workers, until, _broker_trouble)
    ticking = _or_trouble(beats, until, _broker_trouble)
    return Facts(
        now=_now(stored, begun),
        settings=parts.settings,
        gateway_url=parts.gateway.base_url,
        database=stored,
        subjects=subjects,
        unreachable=unreachable,
        account=listed,
        queue=tasks,
        workers=answering,
        beats=ticking,
    )


def _now(stored: DatabaseLook | Trouble, begun: float) -> datetime:
    if isinstance(stored, Trouble):
        return system_clock()
    return max(stored.now, stored.now + timedelta(seconds=time.monotonic() - begun - stored.took_s))


def _database(parts: Parts, inquiry: Inquiry[DatabaseLook], until: float) -> DatabaseLook | Trouble:
    try:
        return inquiry.answer(until)
    except NoAnswer:
        return Trouble(code="database_away", sentence="The database takes questions, but does not answer them.")
    except TruetickError as error:
        return Trouble(code=error.code, sentence=error.message)
    except Exception as error:
        known = trouble_of(parts.engine, error)
        if known is not None:
            return Trouble(code=known.code, sentence=known.message)
        return Trouble(code="database_away", sentence=f"The database cannot be read ({type(error).__name__}).")


def _subjects(parts: Parts, stored: DatabaseLook | Trouble, channel: str | None) -> list[Subject]:
    """The channels under examination, those first that give reason to look."""
    if isinstance(stored, Trouble):
        only_default = channel in {None, DEFAULT_CHANNEL}
        key = parts.settings.gateway_api_key if only_default else None
        return [Subject(name=channel or DEFAULT_CHANNEL, key=key)]
    found = [_subject(parts, facts) for facts in stored.channels]
    if DEFAULT_CHANNEL not in {subject.name for subject in found} and (parts.settings.gateway_api_key or not found):
        # No worker has made it yet; what its key is worth can be told all the same.
        found.append(Subject(name=DEFAULT_CHANNEL, key=parts.settings.gateway_api_key))
    if channel is not None:
        found = [subject for subject in found if subject.name == channel]
        if not found:
            names = ", ".join(facts.standing.name for facts in stored.channels[:20]) or "none"
            raise NotFound(f"There is no channel named {channel[:64]!r}. Channels: {names}.", code="unknown_channel")
    return sorted(found, key=_well)


def _well(subject: Subject) -> tuple[bool, bool, str]:
    flowing = subject.facts is not None and subject.facts.standing.flowing
    return flowing, subject.keyless and not subject.waiting, subject.name


def _subject(parts: Parts, facts: ChannelFacts) -> Subject:
    unusable = _is_unusable(parts, facts.row.webhook_secret_encrypted)
    subject = Subject(name=facts.standing.name, facts=facts, webhook_secret_unusable=unusable)
    try:
        key = parts.vault.channel_key(facts.row.api_key_encrypted)
    except NotConfigured as error:
        return replace(subject, key_problem=error.code)
    return replace(subject, key=key)


def _is_unusable(parts: Parts, sealed: str | None) -> bool:
    if sealed is None:
        return False
    try:
        parts.vault.open(sealed)
    except NotConfigured:
        return True
    return False


def _sounded(parts: Parts, inquiries: Inquiries, subjects: Sequence[Subject], until: float) -> list[Subject]:
    """Ask WaSender about the first of those that have a key."""
    asked = {
        subject.name: inquiries.ask(f"status-{subject.name}", _sound(parts, subject))
        for subject in [subject for subject in subjects if subject.key is not None][:MOST_SOUNDED]
    }
    return [
        replace(subject, sounding=_sounding(asked[subject.name], until)) if subject.name in asked else subject
        for subject in subjects
    ]


def _sound(parts: Parts, subject: Subject) -> Callable[[], Sounding]:
    def sound() -> Sounding:
        assert subject.key is not None
        begun = time.monotonic()
        report, skew_s = parts.gateway.status_and_skew(subject.key.get_secret_value())
        return Sounding(report=report, skew_s=skew_s, took_s=time.monotonic() - begun)

    return sound


def _sounding(inquiry: Inquiry[Sounding], until: float) -> Sounding:
    try:
        return inquiry.answer(until)
    except NoAnswer:
        word = Cause.TIMEOUT.value
    except Exception:
        word = Cause.CONNECTION_LOST.value
    return Sounding(report=ConnectionReport(connection=Connection.UNVERIFIED, word=word), took_s=WITHIN_S)


def _unreachable(parts: Parts, inquiries: Inquiries, until: float) -> Trouble | None:
    """Without a key there is nothing to ask; but does a connection come about?"""
    try:
        outcome = inquiries.ask("connect", parts.gateway.connect).answer(until)
    except Exception:
        return Trouble(code=Cause.TIMEOUT.value, sentence="It did not answer in time.")
    return None if outcome is None else Trouble(code=outcome.cause.value, sentence=outcome.detail)


def _or_trouble(inquiry: Inquiry[Answer], until: float, explain: Callable[[Exception], Trouble]) -> Answer | Trouble:
    try:
        return inquiry.answer(until)
    except Exception as error:
        return explain(error)


def _account_trouble(_error: Exception) -> Trouble:
    return Trouble(code=Cause.TIMEOUT.value, sentence="WaSender did not answer a question about the account in time.")


def _broker_trouble(error: Exception) -> Trouble:
    """The text of the error may hold an address with a password; its kind does not."""
    if isinstance(error, NoAnswer):
        return Trouble(code="broker_away", sentence="The broker takes connections, but does not answer.")
    if isinstance(error, OutOfMemoryError):
        return Trouble(code="broker_full", sentence="The broker is full: it has no memory left for tasks.")
    if isinstance(error, ReadOnlyError):
        return Trouble(code="broker_read_only", sentence="The broker takes nothing: it is a read-only replica.")
    return Trouble(code="broker_away", sentence=f"The broker cannot be reached ({type(error).__name__}).")
