"""A request to send, as a CRM writes it: validated, bounded, with its one content set apart from its options."""

import hashlib
import json
import math
import re
from datetime import UTC, datetime
from typing import Annotated, Any, Literal, Self
from uuid import UUID

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)

from worker.domain.errors import InvalidRequest
from worker.domain.media import media_id, url_of
from worker.domain.template import PLACEHOLDER_NAME, render, require_no_placeholder

#: WhatsApp's own ceiling for a text or caption.
LONGEST_TEXT = 4096
LONGEST_URL = 2048
LARGEST_METADATA_BYTES = 8192
DEEPEST_METADATA = 32
MOST_VALUES = 50
LONGEST_VALUE = 1000
#: What is kept of the recipient as the CRM wrote it, for a person to recognise.
LONGEST_KEPT_RECIPIENT = 200

CONTENT_FIELDS = (
    "image_url",
    "video_url",
    "document_url",
    "audio_url",
    "sticker_url",
    "contact",
    "location",
    "poll",
)
#: The contents that WhatsApp shows with a caption. Source: the contract on send-message.
CAPTIONED = frozenset({"image_url", "video_url", "document_url", "location", "poll"})


def _storable(text: str) -> str:
    """Refuse what a database or a JSON body cannot hold: NUL and lone surrogates."""
    if "\x00" in text or any("\ud800" <= character <= "\udfff" for character in text):
        raise ValueError("contains characters that cannot be stored (NUL or broken Unicode)")
    return text


def _not_blank(text: str) -> str:
    if not text.strip():
        raise ValueError("must not be blank")
    return text


def _fetchable(url: str) -> str:
    if (handed_over := media_id(url)) is not None:
        return url_of(handed_over)
    if not url.lower().startswith(("https://", "http://")) or any(c.isspace() for c in url):
        raise ValueError("must be an http(s) address that WaSender can fetch, or the media:… of a file handed over")
    return url


def _number_is_no_time(value: object) -> object:
    """Times are ISO 8601 texts with a zone; a bare number could be seconds or milliseconds."""
    if not isinstance(value, datetime) and not (isinstance(value, str) and ":" in value):
        raise ValueError("must be an ISO 8601 time with a zone, such as 2026-11-22T18:00:00+05:30")
    return value


def _insertable(value: object) -> object:
    """What is put into a text has to look there as it looks to the caller: no booleans, NaN or endless numbers."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise ValueError("must be a text or a number")
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError("must be a finite number")
    if len(value) > LONGEST_VALUE if isinstance(value, str) else abs(value) >= 10**40:
        raise ValueError(f"must not be longer than {LONGEST_VALUE} characters, or 40 digits")
    return _storable(value) if isinstance(value, str) else value


def _in_utc(time: datetime) -> datetime:
    try:
        return time.astimezone(UTC)
    except OverflowError:
        raise ValueError("is before the first or after the last year that there is") from None


def _deeper_than(levels: int, value: object) -> bool:
    if not isinstance(value, dict | list | tuple):
        return False
    parts = value.values() if isinstance(value, dict) else value
    return levels == 0 or any(_deeper_than(levels - 1, part) for part in parts)


Text = Annotated[
    str, Field(min_length=1, max_length=LONGEST_TEXT), AfterValidator(_storable), AfterValidator(_not_blank)
]
Label = Annotated[str, Field(min_length=1, max_length=200), AfterValidator(_storable)]
Url = Annotated[str, Field(max_length=LONGEST_URL), AfterValidator(_storable), AfterValidator(_fetchable)]
#: Only true and false: "no" is not false everywhere.
Flag = Annotated[bool, Field(strict=True)]
PlaceholderName = Annotated[str, Field(pattern=f"^{PLACEHOLDER_NAME}$")]
Value = Annotated[Annotated[str, Field(max_length=LONGEST_VALUE)] | int | float, BeforeValidator(_insertable)]
Time = Annotated[AwareDatetime, BeforeValidator(_number_is_no_time), AfterValidator(_in_utc)]

#: What may be shown of a field's name in an error; callers can write anything there.
_FIELD_NAME = re.compile(r"[A-Za-z_]{1,40}|\d{1,3}", re.ASCII)


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class Contact(_Part):
    name: Label
    phone: Annotated[str, Field(min_length=3, max_length=32), AfterValidator(_storable)]


class Location(_Part):
    latitude: Annotated[float, Field(ge=-90, le=90, allow_inf_nan=False, strict=True)]
    longitude: Annotated[float, Field(ge=-180, le=180, allow_inf_nan=False, strict=True)]
    name: Label | None = None
    address: Label | None = None


class Poll(_Part):
    question: Annotated[str, Field(min_length=1, max_length=255), AfterValidator(_storable)]
    options: Annotated[list[Annotated[str, Field(min_length=1, max_length=100)]], Field(min_length=2, max_length=12)]
    multi_select: Flag = False

    @model_validator(mode="after")
    def _options_differ(self) -> Self:
        if len(set(self.options)) < len(self.options):
            raise ValueError("poll options must differ from each other")
        for option in self.options:
            _storable(option)
        return self


class SendRequest(_Part):
    """The keyword arguments of `truetick.send_message`, and the JSON of `POST /api/messages`."""

    to: Annotated[str, Field(max_length=100_000)]

    text: Text | None = None
    image_url: Url | None = None
    video_url: Url | None = None
    document_url: Url | None = None
    file_name: Label | None = None
    audio_url: Url | None = None
    sticker_url: Url | None = None
    contact: Contact | None = None
    location: Location | None = None
    poll: Poll | None = None

    message_id: UUID | None = None
    idempotency_key: Label | None = None
    channel: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,63}$")] = "default"
    region: Annotated[str, Field(pattern=r"^[A-Za-z]{2}$")] | None = None
    priority: Literal["transactional", "bulk"] = "transactional"
    send_after: Time | None = None
    expires_at: Time | None = None
    on_doubt: Literal["hold", "resend"] | None = None
    crm_ref: Label | None = None
    metadata: dict[str, Any] | None = None

    #: Any channel of this pool may send it, the one that the recipient knows first; instead of `channel`.
    pool: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,63}$")] | None = None
    #: Another channel of the pool may send it while its own cannot.
    failover: Flag | None = None
    #: The quiet hours of the recipient's time zone: heed or ignore them, whatever the settings say. Where these name
    #: none, 21:00-09:00 are heeded.
    quiet_hours: Flag | None = None
    #: Ask WhatsApp whether the number exists before it is sent.
    check_number: Flag | None = None
    #: The message (its id) to the same recipient that this one quotes.
    reply_to: UUID | None = None
    #: What stands for `{{name}}` in the text. Gone once the request is parsed: its text is the rendered one then.
    values: Annotated[dict[PlaceholderName, Value], Field(max_length=MOST_VALUES)] | None = None

    @model_validator(mode="after")
    def _one_content(self) -> Self:
        given = [name for name in CONTENT_FIELDS if getattr(self, name) is not None]
        if len(given) > 1:
            raise ValueError(f"a message has one content, but {' and '.join(given)} were given")
        if not given and self.text is None:
            raise ValueError(f"a message needs a text or one of {', '.join(CONTENT_FIELDS)}")
        if given and self.text is not None and given[0] not in CAPTIONED:
            raise ValueError(f"WhatsApp shows no caption with {given[0]}; leave text out")
        if self.file_name is not None and self.document_url is None:
            raise ValueError("file_name belongs to document_url")
        return self

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if self.pool is not None and self.names_channel:
            raise ValueError("name a channel or a pool, not both")
        return self

    @model_validator(mode="after")
    def _time_to_send(self) -> Self:
        if self.send_after and self.expires_at and self.expires_at <= self.send_after:
            raise ValueError("expires_at must be later than send_after")
        return self

    @model_validator(mode="after")
    def _metadata_bounded(self) -> Self:
        if self.metadata is not None:
            if _deeper_than(DEEPEST_METADATA, self.metadata):
                raise ValueError(f"metadata must not be nested deeper than {DEEPEST_METADATA} levels")
            try:
                written = json.dumps(self.metadata, allow_nan=False, ensure_ascii=False)
            except (TypeError, ValueError):
                raise ValueError("metadata must be plain JSON") from None
            if len(written.encode("utf-8", "surrogatepass")) > LARGEST_METADATA_BYTES:
                raise ValueError(f"metadata must not be larger than {LARGEST_METADATA_BYTES} bytes")
            _storable(written.replace("\\u0000", "\x00"))
        return self

    @property
    def names_channel(self) -> bool:
        """Was a channel asked for, or is "default" only what stands where nothing was said?"""
        return "channel" in self.model_fields_set

    @property
    def kind(self) -> str:
        """`text`, `image`, `video`, `document`, `audio`, `sticker`, `contact`, `location` or `poll`."""
        for name in CONTENT_FIELDS:
            if getattr(self, name) is not None:
                return name.removesuffix("_url")
        return "text"

    @property
    def content(self) -> dict[str, Any]:
        """The content alone, as it is stored. What it quotes and files handed over stand in it by our own names."""
        said = self.model_dump(
            include={"text", "file_name", *CONTENT_FIELDS}, exclude_none=True, exclude_defaults=False
        )
        return said if self.reply_to is None else said | {"reply_to": str(self.reply_to)}

    def fingerprint(self, recipient: str | None) -> str:
        """A digest of what is to be sent to whom and how: tells a repeated request from another under the same key.

        `recipient` is the address that `to` and `region` spell; None where they spell none, so that they speak for
        themselves. The CRM's own notes (`crm_ref`, `metadata`) change nothing of what is sent.
        """
        notes = {"message_id", "idempotency_key", "crm_ref", "metadata"}
        spelling = {"to", "region"} if recipient else set()
        said = self.model_dump(mode="json", exclude=notes | spelling, exclude_none=True) | {"recipient": recipient}
        return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()

    def earliest(self, now: datetime) -> datetime:
        """When it may go out at the earliest."""
        return max(now, self.send_after) if self.send_after else now


def parse_request(given: dict[str, Any]) -> SendRequest:
    """Validate keyword arguments or JSON, and render its template, if it is one.

    Raises InvalidRequest with one sentence naming each wrong field, or each placeholder without a value.
    """
    request = _validated(given)
    if request.values is None:
        require_no_placeholder(request.text or "")
        return request
    # The bounds of a text hold for what is sent, too.
    text = None if request.text is None else render(request.text, request.values)
    return _validated(given | {"text": text, "values": None})


def _validated(given: dict[str, Any]) -> SendRequest:
    try:
        return SendRequest.model_validate(given)
    except ValidationError as error:
        problems = []
        for problem in error.errors(include_input=False, include_url=False, include_context=False)[:5]:
            field = ".".join(part if _FIELD_NAME.fullmatch(part) else "?" for part in map(str, problem["loc"]))
            said = problem["msg"].removeprefix("Value error, ")
            problems.append(f"{field}: {said}" if field else said)
        raise InvalidRequest(f"The request cannot be used: {'; '.join(problems)}.") from None
