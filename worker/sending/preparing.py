"""What some messages need before their POST: to know that the number is on WhatsApp, and an address for a file.

Done by sender threads, each question to the database a short transaction of its own, and no call inside one. Plain
messages never come here.
"""

import threading
from collections import defaultdict
from datetime import timedelta
from typing import Any
from uuid import UUID

import structlog
from pydantic import SecretStr
from sqlalchemy import Engine

from worker.clock import Clock
from worker.database import DatabaseAway, snapshot, transaction
from worker.domain.evidence import Connection as Connectivity
from worker.domain.outcomes import Cause, Outcome
from worker.gateway.client import GatewayClient
from worker.gateway.media import Uploaded
from worker.outbox import events, known_numbers, media
from worker.outbox.claims import Claim

log = structlog.get_logger(__name__)

#: A file that WaSender failed to take so many times, while it answered questions, is not tried again: it must not
#: hold up its channel for ever. With the pauses in between that is some five minutes.
MOST_UPLOADS = 15
#: Each holds a file in memory.
MOST_UPLOADS_AT_ONCE = 8
#: How long a channel asks nothing about numbers after WaSender said "too often" without saying for how long.
UNHINTED_WAIT_S = 60.0
#: Only people's numbers can be looked up, not groups and newsletters.
_NUMBER = "+"


class Preparing:
    """One for each run's senders, shared by their threads."""

    def __init__(self, engine: Engine, gateway: GatewayClient, clock: Clock) -> None:
        self._engine = engine
        self._gateway = gateway
        self._clock = clock
        #: One thread uploads a file; those who need the same one wait for its address.
        self._uploading: defaultdict[UUID, threading.Lock] = defaultdict(threading.Lock)
        self._room = threading.BoundedSemaphore(MOST_UPLOADS_AT_ONCE)

    def is_needed(self, claim: Claim) -> bool:
        return claim.check_number or bool(media.files_in(claim.content))

    def prepare(self, claim: Claim, api_key: SecretStr) -> Outcome | dict[str, Any]:
        """The content to post, or what becomes of the message instead: nothing was sent then."""
        key = api_key.get_secret_value()
        if self._is_absent(claim, key):
            return Outcome(
                cause=Cause.NOT_ON_WHATSAPP, detail="WhatsApp was asked about the number before anything was sent."
            )
        content = claim.content
        for field, file in media.files_in(content).items():
            place = self._place_of(file, claim, key)
            if isinstance(place, Outcome):
                return place
            content = content | {field: place}
        return content

    # Numbers

    def _is_absent(self, claim: Claim, key: str) -> bool:
        """Does WhatsApp say that the number does not exist? Whatever else there is to say does not hold a message up.

        Only its first attempt is asked about: whoever sends a message again has looked into it.
        """
        if not claim.check_number or claim.attempt > 1 or not claim.recipient.startswith(_NUMBER):
            return False
        try:
            with snapshot(self._engine) as connection:
                exists = known_numbers.known(connection, claim.recipient, now=self._clock())
            return (exists if exists is not None else self._ask(claim, key)) is False
        except DatabaseAway as error:
            log.warning("number_not_checked", message_seq=claim.seq, problem=type(error).__name__)
            return False

    def _ask(self, claim: Claim, key: str) -> bool | None:
        with transaction(self._engine) as connection:
            if not known_numbers.may_ask(connection, claim.channel_id, now=self._clock()):
                return None
        answer = self._gateway.on_whatsapp(key, claim.recipient)
        now = self._clock()
        if answer.throttled:
            until = now + timedelta(seconds=answer.wait_s or UNHINTED_WAIT_S)
            with transaction(self._engine) as connection:
                known_numbers.ask_no_more(connection, claim.channel_id, until=until)
            return None
        # What a session that is not connected says about numbers is worth nothing.
        if answer.exists is None or (not answer.exists and not self._is_connected(key)):
            return None
        with transaction(self._engine) as connection:
            known_numbers.learn(connection, claim.recipient, answer.exists, at=now)
        return answer.exists

    # Files

    def _place_of(self, file: UUID, claim: Claim, key: str) -> str | Outcome:
        """Where WaSender has the file; it is uploaded if it has it no longer, or not yet.

        The address is stored before it is used, so that it is known later what was posted, whatever happens then.
        """
        try:
            with self._uploading[file]:
                with snapshot(self._engine) as connection:
                    known = media.for_upload(connection, file, now=self._clock())
                    if known is not None and known.public_url is not None:
                        return known.public_url
                uploaded = self._upload(file, known.mime_type, key) if known is not None else None
                if uploaded is None:
                    return Outcome(cause=Cause.MEDIA_GONE)
                if isinstance(uploaded, Outcome):
                    return self._not_uploaded(uploaded, claim, key)
                with transaction(self._engine) as connection:
                    return media.learn_public_url(connection, file, uploaded.public_url, now=self._clock())
        except DatabaseAway as error:
            log.warning("file_not_ready", message_seq=claim.seq, problem=type(error).__name__)
            return Outcome(cause=Cause.NOT_STARTED)

    def _upload(self, file: UUID, mime_type: str, key: str) -> Uploaded | Outcome | None:
        with self._room:
            with snapshot(self._engine) as connection:
                content = media.content_of(connection, file)
            return None if content is None else self._gateway.upload(key, content, mime_type)

    def _not_uploaded(self, outcome: Outcome, claim: Claim, key: str) -> Outcome:
        """Trouble passes; but when WaSender is well and only this upload fails again and again, it is the file."""
        if outcome.cause is not Cause.MEDIA_NOT_UPLOADED:
            return outcome
        with snapshot(self._engine) as connection:
            before = events.count(connection, claim.seq, reason=Cause.MEDIA_NOT_UPLOADED)
        if before + 1 < MOST_UPLOADS or not self._is_connected(key):
            return outcome
        return Outcome(cause=Cause.MEDIA_REFUSED, detail=outcome.detail, http_status=outcome.http_status)

    def _is_connected(self, key: str) -> bool:
        return self._gateway.status(key).connection is Connectivity.CONNECTED
