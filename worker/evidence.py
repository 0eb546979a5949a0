"""Reconciliation: asks WaSender what became of accepted messages, so that a status rests on WhatsApp's own tick."""

import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import structlog
from pydantic import SecretStr
from sqlalchemy import Row

from worker.database import transaction
from worker.domain.errors import NotConfigured
from worker.outbox.events import Source
from worker.outbox.ticks import Answer, apply_answers, take_due_checks
from worker.parts import Parts

log = structlog.get_logger(__name__)

#: How many messages are asked about before their answers are written down: few enough that a WaSender which answers
#: nothing holds a run no longer than their check lease.
BATCH = 20
#: How many questions are under way at once. WaSender advises at most five requests a channel.
ASKERS = 4
#: A run hands over to the next one after this.
RUN_S = 20.0


def reconcile_messages(parts: Parts) -> int:
    """Ask about the messages that are due, in batches, for `RUN_S` seconds. Returns how many moved on.

    Harmless when run twice at once: a message is asked about by one run only.
    """
    moved = 0
    ends_at = time.monotonic() + RUN_S
    with ThreadPoolExecutor(ASKERS, thread_name_prefix="info") as askers:
        while time.monotonic() < ends_at and not parts.stopping.is_set():
            with transaction(parts.engine) as connection:
                due = take_due_checks(connection, now=parts.clock(), most=BATCH)
            if not due:
                break
            answers = list(filter(None, askers.map(lambda row: _ask(parts, row), due)))
            with transaction(parts.engine) as connection:
                moved += apply_answers(connection, answers, now=parts.clock(), source=Source.INFO)
            if len(due) < BATCH:
                break
    if moved:
        log.info("messages_reconciled", moved=moved)
    return moved


def _ask(parts: Parts, row: Row[Any]) -> Answer | None:
    key = None if parts.stopping.is_set() else _key(parts, row)
    if key is None:
        return None
    info = parts.gateway.message_info(key.get_secret_value(), row.gateway_msg_id)
    return Answer(seq=row.seq, info=info)


def _key(parts: Parts, row: Row[Any]) -> SecretStr | None:
    try:
        return parts.vault.channel_key(row.api_key_encrypted)
    except NotConfigured as error:
        log.warning("channel_key_unusable", channel_id=row.channel_id, code=error.code)
        return None
