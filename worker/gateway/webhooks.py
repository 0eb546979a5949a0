"""WaSender's webhooks read into facts, in every shape they are known to have (contract 7). Pure.

Webhooks are hints from outside: what is not understood gives no fact and is never fatal. `sessionId`, which is the
session's API key, and the texts of messages do not leave this module.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import chain, islice

from worker.domain.errors import InvalidRequest
from worker.domain.opt_out import WishWords
from worker.domain.text_digest import text_digest
from worker.domain.webhook_fact import Fact, SendFailed, SentSeen, SessionChanged, TickSeen, from_said, to_said
from worker.gateway.answers import human_text, printable, read_id, read_object, redacted
from worker.gateway.inbound import read_received, read_upserted
from worker.gateway.reports import read_ack
from worker.gateway.whatsapp_objects import as_id, as_object, objects_in, recipient_of, text_of

__all__ = [
    "EVENTS",
    "Fact",
    "SendFailed",
    "SentSeen",
    "SessionChanged",
    "TickSeen",
    "from_said",
    "read_webhook",
    "to_said",
]

#: Facts that one body may give. WaSender sends one message's, or a few; what is beyond is asked for later anyway.
MOST_FACTS = 500
_WORD_LIMIT = 40
_ERROR_LIMIT = 1_000
#: What is shorter than this is no credential, and stands in many an innocent word.
_SHORTEST_CREDENTIAL = 16

#: These ride on messages.upsert too, under ids of their own: an edit or deletion, and a reaction.
_NO_MESSAGES = ("protocolMessage", "editedMessage", "reactionMessage")

#: A group, a newsletter or a number inside an error text.
_ADDRESS = re.compile(
    r"(?<![\w@+-])(?:\d{5,32}(?:-\d{5,16})?@(?:g\.us|newsletter)|\+?\d{7,15}(?:(?::\d{1,4})?@s\.whatsapp\.net)?)(?!\w)",
    re.ASCII,
)


def read_webhook(body: bytes, words: WishWords | None = None) -> tuple[Fact, ...]:
    """Give what the webhook tells, each thing once; nothing for events that tell us nothing.

    With `words`, messages that came in are read for them; without, nothing that came in is looked at.
    Raises InvalidRequest (`bad_webhook`) for what is not a JSON object with an `event`.
    """
    envelope = read_object(body)
    event = envelope.get("event") if envelope is not None else None
    if envelope is None or not isinstance(event, str):
        raise InvalidRequest(
            "This is no webhook of WaSender's: the body has to be a JSON object whose `event` is a text.",
            code="bad_webhook",
        )
    read, read_wishes, data = _READERS.get(event), _WISH_READERS.get(event), envelope.get("data")
    told: Iterator[Fact] = read(data) if read is not None else iter(())
    wished: Iterator[Fact] = read_wishes(data, words) if read_wishes is not None and words is not None else iter(())
    facts = dict.fromkeys(islice(chain(told, wished), MOST_FACTS))
    return tuple(fact for fact in facts if not _repeats(fact, envelope.get("sessionId")))


def _ticks(data: object) -> Iterator[Fact]:
    """`fromMe` is false even in the documented sample about an own message, so it decides nothing."""
    for entry in objects_in(data):
        key, update = as_object(entry.get("key")), as_object(entry.get("update"))
        key_id, ack = as_id(key.get("id")), read_ack(update.get("status"))
        if key_id is not None and ack is not None:
            yield TickSeen(whatsapp_key_id=key_id, whatsapp_jid=as_id(key.get("remoteJid")), ack=ack)


def _sent(data: object) -> Iterator[Fact]:
    for entry in objects_in(data):
        yield from _failed(entry) if entry.get("success") is False else _seen(entry)


def _upserted(data: object) -> Iterator[Fact]:
    """What went out; `inbound` looks at what came in."""
    messages = data.get("messages", data) if isinstance(data, dict) else data
    for entry in objects_in(messages):
        if as_object(entry.get("key")).get("fromMe") is True:
            yield from _seen(entry)


def _session(data: object) -> Iterator[Fact]:
    for entry in objects_in(data):
        status = entry.get("status")
        word = printable(redacted(status[:200]), _WORD_LIMIT).lower() if isinstance(status, str) else ""
        if word:
            yield SessionChanged(word=word.replace(" ", "_").replace("-", "_"))


_READERS: dict[str, Callable[[object], Iterator[Fact]]] = {
    "messages.update": _ticks,
    "message.sent": _sent,
    "messages.upsert": _upserted,
    "session.status": _session,
}
#: What a session's webhook should send: each tick and change, and people's STOP. `messages.received` says the same as
#: `messages-personal.received`, and of groups besides, which nobody opts out of.
EVENTS = ("messages.update", "message.sent", "messages.upsert", "messages-personal.received", "session.status")
#: WaSender may tell of the same message by each of these; the wish in it is the same.
_WISH_READERS: dict[str, Callable[[object, WishWords], Iterator[Fact]]] = {
    "messages.received": read_received,
    "messages-personal.received": read_received,
    "messages.upsert": read_upserted,
}


def _seen(entry: Mapping[str, object]) -> Iterator[Fact]:
    key, message = as_object(entry.get("key")), as_object(entry.get("message"))
    key_id, jid = as_id(key.get("id")), as_id(key.get("remoteJid"))
    if key_id is None or any(kind in message for kind in _NO_MESSAGES):
        return
    if jid is not None and jid.endswith("@broadcast"):  # a status for all contacts, or a list: never sent by us
        return
    text = text_of(entry)
    yield SentSeen(
        whatsapp_key_id=key_id,
        whatsapp_jid=jid,
        recipient=recipient_of(jid) if jid is not None else None,
        text_digest=text_digest(text) if text is not None else None,
        gateway_msg_id=read_id(entry.get("msgId")) or read_id(key.get("msgId")),
    )


def _failed(entry: Mapping[str, object]) -> Iterator[Fact]:
    """The documented form has no ids, and the number stands in the text only. Two numbers there tell nothing."""
    key = as_object(entry.get("key"))
    named = _recipients([key.get("remoteJid")]) or _recipients(_ADDRESS.findall(human_text(entry)[:_ERROR_LIMIT]))
    gateway_msg_id = read_id(entry.get("msgId")) or read_id(key.get("msgId"))
    recipient = named.pop() if len(named) == 1 else None
    if recipient is not None or gateway_msg_id is not None:
        yield SendFailed(recipient=recipient, gateway_msg_id=gateway_msg_id)


def _recipients(addresses: Iterable[object]) -> set[str]:
    ids = (as_id(address) for address in addresses)
    return {found for address in ids if address is not None and (found := recipient_of(address)) is not None}


def _repeats(fact: Fact, session_id: object) -> bool:
    """Does the credential of the envelope stand in a fact, where it never belongs?"""
    if not isinstance(session_id, str) or len(session_id) < _SHORTEST_CREDENTIAL:
        return False
    credential = session_id.lower()
    return any(credential in value.lower() for value in to_said(fact).values() if isinstance(value, str))
