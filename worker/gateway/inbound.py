"""Messages that people write to us, read for one thing only: does somebody want no more messages, or messages again?

What is neither leaves no trace, and no text leaves this module (contract 7.9). Pure.
"""

from collections.abc import Iterator, Mapping

from worker.domain.opt_out import LONGEST_WORD, WishWords
from worker.domain.webhook_fact import WishSeen
from worker.gateway.answers import read_id
from worker.gateway.whatsapp_objects import (
    WRAPPERS,
    as_id,
    as_object,
    lid_of,
    objects_in,
    person_of,
    recipient_of,
    text_of,
)

#: A text that was corrected afterwards counts as well.
_WRAPPERS = (*WRAPPERS, "editedMessage")
#: Whom nobody opts out of: groups, broadcasts and statuses, newsletters.
_NOBODY = ("@g.us", "@broadcast", "@newsletter")
#: Seconds since 1970 have reached neither this nor will they; what is larger is in milliseconds.
_MILLISECONDS_FROM = 10**11
_LAST_SECOND = 10**10


def read_received(data: object, words: WishWords) -> Iterator[WishSeen]:
    """Events that carry only what came in."""
    for entry in _entries(data):
        if as_object(entry.get("key")).get("fromMe") is not True:
            yield from _wish(entry, words)


def read_upserted(data: object, words: WishWords) -> Iterator[WishSeen]:
    """Events that carry our own messages, too, so that only what surely came in counts."""
    for entry in _entries(data):
        if as_object(entry.get("key")).get("fromMe") is False:
            yield from _wish(entry, words)


def _entries(data: object) -> Iterator[dict[str, object]]:
    return objects_in(data.get("messages", data) if isinstance(data, dict) else data)


def _wish(entry: Mapping[str, object], words: WishWords) -> Iterator[WishSeen]:
    key = as_object(entry.get("key"))
    key_id, jid = as_id(key.get("id")), as_id(key.get("remoteJid"))
    text = text_of(entry, wrappers=_WRAPPERS)
    found = words.wish_in(text) if text is not None else None
    if found is None or key_id is None or (jid is not None and jid.endswith(_NOBODY)):
        return
    sender, lid = _sender(key), _lid(key)
    if sender is None and lid is None:
        return
    wish, word = found
    yield WishSeen(
        whatsapp_key_id=key_id,
        sender=sender,
        lid=lid,
        jid=_jid(key),
        wish=wish,
        word=word[:LONGEST_WORD],
        written_at=_seconds(entry.get("messageTimestamp")),
    )


def _sender(key: Mapping[str, object]) -> str | None:
    """The number, from the best place that has one; a LID's digits are none."""
    for name in ("cleanedSenderPn", "senderPn", "remoteJid"):
        jid = as_id(key.get(name))
        number = recipient_of(jid) if jid is not None and lid_of(jid) is None else None
        if number is not None and number.startswith("+"):
            return number
    return None


def _jid(key: Mapping[str, object]) -> str | None:
    jids = (as_id(key.get(name)) for name in ("remoteJid", "senderPn"))
    return next((found for jid in jids if jid is not None and (found := person_of(jid)) is not None), None)


def _lid(key: Mapping[str, object]) -> str | None:
    jids = (as_id(key.get(name)) for name in ("remoteJid", "senderLid"))
    return next((lid for jid in jids if jid is not None and (lid := lid_of(jid)) is not None), None)


def _seconds(value: object) -> int | None:
    number = read_id(value)
    if number is not None and number >= _MILLISECONDS_FROM:
        number //= 1000
    return number if number is not None and number < _LAST_SECOND else None
