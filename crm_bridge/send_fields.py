"""What can be said of a message: the keyword arguments of `send` and `send_in`, and the checks that need no database.

The worker has the last word on all of it (`worker.domain.message_request`); here only what is plainly wrong is found,
at once and in the CRM's own stack trace.
"""

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final, Literal, NotRequired, Required, TypedDict
from uuid import UUID, uuid4

LONGEST_TEXT: Final = 4096
#: No message that could be sent is larger than this, in bytes of JSON.
LARGEST_REQUEST: Final = 512 * 1024


class Contact(TypedDict):
    """Somebody's card."""

    name: str
    phone: str


class Location(TypedDict):
    """A place; degrees."""

    latitude: float
    longitude: float
    name: NotRequired[str]
    address: NotRequired[str]


class Poll(TypedDict):
    """A question with 2 to 12 answers."""

    question: str
    options: list[str]
    multi_select: NotRequired[bool]


class SendFields(TypedDict, total=False):
    """One message. `to`, and a text or one other content; the rest are options."""

    #: Any spelling of a phone number that a person would understand, or a group's or newsletter's JID.
    to: Required[str]

    #: The text; or the caption of an image, video, document, location or poll.
    text: str | None
    image_url: str | None
    video_url: str | None
    document_url: str | None
    #: What the document is called at the recipient's.
    file_name: str | None
    audio_url: str | None
    sticker_url: str | None
    contact: Contact | None
    location: Location | None
    poll: Poll | None
    #: With values the text is a template, in which each stands for its `{{name}}`.
    values: Mapping[str, str | int | float] | None
    #: The id of an earlier message to the same recipient, to be quoted.
    reply_to: UUID | str | None

    #: The id that it gets. The same id never makes a second message.
    message_id: UUID | str | None
    #: Any text with the same effect: of all requests with one key, one message is made.
    idempotency_key: str | None
    #: The channel that sends it; `default` if left out. Or the pool whose channels may.
    channel: str | None
    pool: str | None
    #: Another channel of the pool may send it while its own cannot.
    failover: bool | None
    #: The country, as two letters, of a number without a country code.
    region: str | None
    #: Bulk goes out when nothing transactional waits.
    priority: Literal["transactional", "bulk"] | None
    #: Times with a zone: not before, and not after.
    send_after: datetime | str | None
    expires_at: datetime | str | None
    #: When nobody can find out whether it went out: leave it to a person, or send it again.
    on_doubt: Literal["hold", "resend"] | None
    #: Heed or ignore the quiet hours at the recipient's, whatever the settings say.
    quiet_hours: bool | None
    #: Ask WhatsApp first whether the number exists.
    check_number: bool | None
    #: The CRM's own name for it, and its own notes: up to 8 kB of JSON that come back with the message.
    crm_ref: str | None
    metadata: Mapping[str, Any] | None


_CONTENTS: Final = (
    *("text", "image_url", "video_url", "document_url", "audio_url", "sticker_url", "contact", "location", "poll"),
)
_TEXTS: Final = (
    *("to", "text", "image_url", "video_url", "document_url", "file_name", "audio_url", "sticker_url"),
    *("idempotency_key", "channel", "pool", "region", "crm_ref"),
)
_CHOICES: Final = {"priority": ("transactional", "bulk"), "on_doubt": ("hold", "resend")}


def as_request(fields: Mapping[str, Any]) -> tuple[UUID, dict[str, Any]]:
    """The message's id, chosen here unless the caller has chosen one, and the request as plain JSON.

    Raises TypeError or ValueError for what can be no request; neither repeats numbers nor texts.
    """
    unknown = sorted(set(fields) - SendFields.__annotations__.keys())
    if unknown:
        raise TypeError(f"there is no field {unknown[0][:40]!r}; there are: {', '.join(SendFields.__annotations__)}")
    if fields.get("to") is None:
        raise TypeError("a message needs a recipient: to='+91 70330 09600'")
    if all(fields.get(name) is None for name in _CONTENTS):
        raise TypeError(f"a message needs a text or another content: one of {', '.join(_CONTENTS)}")
    given = {name: _plain(name, value) for name, value in fields.items() if value is not None}
    message_id = UUID(given.get("message_id") or str(uuid4()))
    given["message_id"] = str(message_id)
    try:
        size = len(json.dumps(given, allow_nan=False))
    except (TypeError, ValueError, RecursionError):
        raise TypeError("contact, location, poll, values and metadata have to be plain JSON") from None
    if size > LARGEST_REQUEST:
        raise ValueError(f"the message has {size} bytes as JSON, and {LARGEST_REQUEST} is the most")
    return message_id, given


def _plain(name: str, value: Any) -> Any:
    """One field's value as it goes out."""
    if name in _TEXTS and not isinstance(value, str):
        raise TypeError(f"{name} has to be a str, not {type(value).__name__}")
    if name == "to" and not value.strip():
        raise ValueError("to is empty; give a phone number")
    if name == "text" and len(value) > LONGEST_TEXT:
        raise ValueError(f"text has {len(value)} characters, and WhatsApp takes {LONGEST_TEXT}")
    if name in _CHOICES and value not in _CHOICES[name]:
        raise ValueError(f"{name} is one of {', '.join(_CHOICES[name])}")
    if name in ("send_after", "expires_at"):
        return _time(name, value)
    if name in ("message_id", "reply_to"):
        return _id(name, value)
    return dict(value) if isinstance(value, Mapping) else value


def _time(name: str, value: Any) -> str:
    if isinstance(value, str):
        return value
    if not isinstance(value, datetime) or value.utcoffset() is None:
        raise ValueError(f"{name} has to be a datetime with a zone, such as datetime.now(UTC) + timedelta(hours=1)")
    return value.isoformat()


def _id(name: str, value: Any) -> str:
    try:
        return str(value if isinstance(value, UUID) else UUID(str(value)))
    except ValueError:
        raise ValueError(f"{name} has to be a UUID") from None
