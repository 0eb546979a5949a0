"""WaSender's webhooks read into facts, in every shape they are known to have (contract 7). Pure.

Webhooks are hints from outside: what is not understood gives no fact and is never fatal. `sessionId`, which is the
session's API key, and the texts of messages do not leave this module.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice

from worker.domain.errors import InvalidNumber, InvalidRequest
from worker.domain.phone import normalise_recipient
from worker.domain.text_digest import text_digest
from worker.domain.webhook_fact import Fact, SendFailed, SentSeen, SessionChanged, TickSeen, from_said, to_said
from worker.gateway.answers import human_text, printable, read_id, read_object, redacted
from worker.gateway.reports import read_ack

__all__ = ["Fact", "SendFailed", "SentSeen", "SessionChanged", "TickSeen", "from_said", "read_webhook", "to_said"]

#: Facts that one body may give. WaSender sends one message's, or a few; what is beyond is asked for later anyway.
MOST_FACTS = 500
#: An id that is longer is not WhatsApp's, and half of one could be mistaken for another.
_ID_LIMIT = 128
_WORD_LIMIT = 40
_ERROR_LIMIT = 1_000
#: What is shorter than this is no credential, and stands in many an innocent word.
_SHORTEST_CREDENTIAL = 16

#: Objects of WhatsApp's libraries that hold a message inside, and those that have a caption (contract 7.9).
_WRAPPERS = (
    "ephemeralMessage",
    "viewOnceMessage",
    "viewOnceMessageV2",
    "viewOnceMessageV2Extension",
    "documentWithCaptionMessage",
)
_CAPTIONED = ("imageMessage", "videoMessage", "documentMessage")
_DEEPEST_WRAPPER = 5
#: These ride on messages.upsert too, under ids of their own: an edit or deletion, and a reaction.
_NO_MESSAGES = ("protocolMessage", "editedMessage", "reactionMessage")

#: A group, a newsletter or a number inside an error text.
_ADDRESS = re.compile(
    r"(?<![\w@+-])(?:\d{5,32}(?:-\d{5,16})?@(?:g\.us|newsletter)|\+?\d{7,15}(?:(?::\d{1,4})?@s\.whatsapp\.net)?)(?!\w)",
    re.ASCII,
)
_NUMBER = re.compile(r"\+?(\d{7,15})(?::\d{1,4})?(?:@s\.whatsapp\.net|@c\.us)?", re.ASCII)


def read_webhook(body: bytes) -> tuple[Fact, ...]:
    """Give what the webhook tells, each thing once; nothing for events that tell us nothing.

    Raises InvalidRequest (`bad_webhook`) for what is not a JSON object with an `event`.
    """
    envelope = read_object(body)
    event = envelope.get("event") if envelope is not None else None
    if envelope is None or not isinstance(event, str):
        raise InvalidRequest(
            "This is no webhook of WaSender's: the body has to be a JSON object whose `event` is a text.",
            code="bad_webhook",
        )
    read = _READERS.get(event)
    if read is None:
        return ()
    facts = dict.fromkeys(islice(read(envelope.get("data")), MOST_FACTS))
    return tuple(fact for fact in facts if not _repeats(fact, envelope.get("sessionId")))


def _ticks(data: object) -> Iterator[Fact]:
    """`fromMe` is false even in the documented sample about an own message, so it decides nothing."""
    for entry in _objects(data):
        key, update = _object(entry.get("key")), _object(entry.get("update"))
        key_id, ack = _id(key.get("id")), read_ack(update.get("status"))
        if key_id is not None and ack is not None:
            yield TickSeen(whatsapp_key_id=key_id, whatsapp_jid=_id(key.get("remoteJid")), ack=ack)


def _sent(data: object) -> Iterator[Fact]:
    for entry in _objects(data):
        yield from _failed(entry) if entry.get("success") is False else _seen(entry)


def _upserted(data: object) -> Iterator[Fact]:
    """Only what went out; what came in is not read here."""
    messages = data.get("messages", data) if isinstance(data, dict) else data
    for entry in _objects(messages):
        if _object(entry.get("key")).get("fromMe") is True:
            yield from _seen(entry)


def _session(data: object) -> Iterator[Fact]:
    for entry in _objects(data):
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


def _seen(entry: Mapping[str, object]) -> Iterator[Fact]:
    key, message = _object(entry.get("key")), _object(entry.get("message"))
    key_id, jid = _id(key.get("id")), _id(key.get("remoteJid"))
    if key_id is None or any(kind in message for kind in _NO_MESSAGES):
        return
    if jid is not None and jid.endswith("@broadcast"):  # a status for all contacts, or a list: never sent by us
        return
    text = next((text for text in _texts(entry) if isinstance(text, str) and text.strip()), None)
    yield SentSeen(
        whatsapp_key_id=key_id,
        whatsapp_jid=jid,
        recipient=_recipient(jid) if jid is not None else None,
        text_digest=text_digest(text) if text is not None else None,
        gateway_msg_id=read_id(entry.get("msgId")) or read_id(key.get("msgId")),
    )


def _failed(entry: Mapping[str, object]) -> Iterator[Fact]:
    """The documented form has no ids, and the number stands in the text only. Two numbers there tell nothing."""
    key = _object(entry.get("key"))
    named = _recipients([key.get("remoteJid")]) or _recipients(_ADDRESS.findall(human_text(entry)[:_ERROR_LIMIT]))
    gateway_msg_id = read_id(entry.get("msgId")) or read_id(key.get("msgId"))
    recipient = named.pop() if len(named) == 1 else None
    if recipient is not None or gateway_msg_id is not None:
        yield SendFailed(recipient=recipient, gateway_msg_id=gateway_msg_id)


def _texts(entry: Mapping[str, object]) -> Iterator[object]:
    """Where a text can stand, the best place first."""
    yield entry.get("messageBody")
    message = _object(entry.get("message"))
    for _ in range(_DEEPEST_WRAPPER):
        yield message.get("conversation")
        yield _object(message.get("extendedTextMessage")).get("text")
        for media in _CAPTIONED:
            yield _object(message.get(media)).get("caption")
        wrapped = next((message[wrapper] for wrapper in _WRAPPERS if wrapper in message), None)
        message = _object(_object(wrapped).get("message"))


def _recipients(addresses: Iterable[object]) -> set[str]:
    ids = (_id(address) for address in addresses)
    return {found for address in ids if address is not None and (found := _recipient(address)) is not None}


def _recipient(jid: str) -> str | None:
    """Give the address as our messages have it, or None when `jid` (or `+<digits>`) does not tell it.

    WhatsApp knows numbers that the numbering plans do not (yet); they stay as they are.
    """
    try:
        return normalise_recipient(jid if "@" in jid or jid.startswith("+") else f"+{jid}", "").address
    except InvalidNumber:
        number = _NUMBER.fullmatch(jid)
        return f"+{number[1]}" if number else None


def _repeats(fact: Fact, session_id: object) -> bool:
    """Does the credential of the envelope stand in a fact, where it never belongs?"""
    if not isinstance(session_id, str) or len(session_id) < _SHORTEST_CREDENTIAL:
        return False
    credential = session_id.lower()
    return any(credential in value.lower() for value in to_said(fact).values() if isinstance(value, str))


def _objects(value: object) -> Iterator[dict[str, object]]:
    """One object or a list of them: WaSender sends both for the same event."""
    for item in value if isinstance(value, list) else [value]:
        if isinstance(item, dict):
            yield item


def _object(value: object) -> dict[str, object]:
    return value if isinstance(value, dict) else {}


def _id(value: object) -> str | None:
    text = value.strip() if isinstance(value, str) else ""
    return text if 0 < len(text) <= _ID_LIMIT and text.isprintable() else None
