"""The JSON body of `POST /send-message`, made from a recipient and the stored content of a message.

The content is stored in our own snake_case words; WaSender's camelCase stands here and nowhere else.
"""

import json
from collections.abc import Mapping

from worker.domain.errors import InvalidRequest
from worker.domain.media import media_id

#: Our word for a kind of content → WaSender's field (contract 4.1). A message has at most one of these.
_MEDIA = {
    "image_url": "imageUrl",
    "video_url": "videoUrl",
    "document_url": "documentUrl",
    "audio_url": "audioUrl",
    "sticker_url": "stickerUrl",
    "contact": "contact",
    "location": "location",
    "poll": "poll",
}
#: What may stand beside it: `text` (body or caption) and options. WaSender misspells `filename` in its prose only.
_EXTRAS = {
    "text": "text",
    "file_name": "fileName",
    "view_once": "viewOnce",
    "mentions": "mentions",
    "reply_to": "replyTo",
}
_FIELDS = _MEDIA | _EXTRAS
_ENCODER = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def build_payload(recipient: str, content: Mapping[str, object]) -> bytes:
    """Give the request body as UTF-8 JSON. Keys whose value is None are left out.

    Raises `InvalidRequest` when the content has no kind or two, an unknown key, a file or quote under our own name
    for it, or cannot be written as JSON.
    """
    fields = {key: value for key, value in content.items() if value is not None}
    unknown = sorted(str(key) for key in fields if key not in _FIELDS)
    if unknown:
        raise InvalidRequest(f"WaSender has no field for {', '.join(unknown)}.", code="unknown_content")
    kinds = [key for key in fields if key in _MEDIA]
    if len(kinds) > 1:
        raise InvalidRequest(f"A message carries one content, not {' and '.join(kinds)}.", code="two_contents")
    unresolved = sorted(key for key in fields if _is_unresolved(key, fields[key]))
    if unresolved:
        raise InvalidRequest(f"{', '.join(unresolved)} names nothing that WaSender knows.", code="unresolved_content")
    if not kinds and "text" not in fields:
        raise InvalidRequest("The message has no content: give it a text or a media URL.", code="no_content")

    body = {"to": recipient} | {_FIELDS[key]: value for key, value in fields.items()}
    if isinstance(poll := body.get("poll"), Mapping):
        body["poll"] = {("multiSelect" if key == "multi_select" else key): poll[key] for key in poll}
    try:
        return _ENCODER.encode(body).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidRequest("The content cannot be written as JSON.", code="unwritable_content") from error


def _is_unresolved(key: str, value: object) -> bool:
    """A file that was not uploaded, a quote of which WaSender's id is not known: only we could read them."""
    if key == "reply_to":
        return not isinstance(value, int) or isinstance(value, bool)
    return media_id(value) is not None
