"""Files as WhatsApp takes them: of which kind, how large, in which field of a request, and how a request names one.

The limits are the smaller ones of WaSender's two lists, those of sending and those of uploading (contract 4.1, 4.2).
"""

import re
from typing import Final
from uuid import UUID

from worker.domain.errors import InvalidRequest

KB: Final = 1024
MB: Final = 1024 * KB
#: WaSender takes documents of 100 MB; what is handed over to us is kept in the database, which sets its own bound.
LARGEST_FILE: Final = 16 * MB
#: How a request names a file that was handed over before.
SCHEME: Final = "media:"
#: The fields of a request that may name one.
MEDIA_FIELDS: Final = ("image_url", "video_url", "document_url", "audio_url", "sticker_url")

_OFFICE = "application/vnd.openxmlformats-officedocument"
_OPEN = "application/vnd.oasis.opendocument"
_AS_DOCUMENT: dict[str, int] = {"document_url": LARGEST_FILE}
_DOCUMENTS = (
    *("application/pdf", "application/rtf", "application/zip", "text/plain", "text/csv"),
    *("application/msword", "application/vnd.ms-excel", "application/vnd.ms-powerpoint"),
    *(f"{_OFFICE}.wordprocessingml.document", f"{_OFFICE}.spreadsheetml.sheet"),
    *(f"{_OFFICE}.presentationml.presentation",),
    *(f"{_OPEN}.text", f"{_OPEN}.spreadsheet", f"{_OPEN}.presentation"),
)
#: Each type with the fields that take it, and how large it may be there. Anything may go as a document.
_USES: dict[str, dict[str, int]] = {
    **dict.fromkeys(("image/jpeg", "image/png"), {"image_url": 5 * MB} | _AS_DOCUMENT),
    **dict.fromkeys(("video/mp4", "video/3gpp"), {"video_url": LARGEST_FILE} | _AS_DOCUMENT),
    **dict.fromkeys(
        ("audio/aac", "audio/mpeg", "audio/ogg", "audio/amr"), {"audio_url": LARGEST_FILE} | _AS_DOCUMENT
    ),
    "image/webp": {"sticker_url": 100 * KB, "document_url": 5 * MB},
    **dict.fromkeys(_DOCUMENTS, _AS_DOCUMENT),
}
#: Other spellings that are about.
_ALIASES = {
    "image/jpg": "image/jpeg",
    "audio/mp3": "audio/mpeg",
    "audio/x-aac": "audio/aac",
    "audio/opus": "audio/ogg",
    "text/rtf": "application/rtf",
    "application/x-zip-compressed": "application/zip",
    "video/3gp": "video/3gpp",
}
MIME_TYPES: Final = tuple(sorted(_USES))

_REFERENCE = re.compile(r"media:([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})", re.ASCII | re.IGNORECASE)


def media_id(url: object) -> UUID | None:
    """The id in `media:<id>`; None for what is an address of its own."""
    found = _REFERENCE.fullmatch(url) if isinstance(url, str) else None
    return UUID(found[1]) if found else None


def url_of(media: UUID) -> str:
    return f"{SCHEME}{media}"


def known_type(declared: str) -> str:
    """The one spelling of a type that can be sent. Raises InvalidRequest (`unsupported_media_type`)."""
    plain = declared.partition(";")[0].strip().lower()
    plain = _ALIASES.get(plain, plain)
    if plain not in _USES:
        raise InvalidRequest(
            f"WhatsApp takes no files of this type. Send one of {', '.join(MIME_TYPES)}, and say which it is.",
            code="unsupported_media_type",
        )
    return plain


def check_size(mime_type: str, size: int) -> None:
    """Raises InvalidRequest for a file that no field takes (`empty_file`, `media_too_large`)."""
    if not size:
        raise InvalidRequest("The file is empty.", code="empty_file")
    largest = max(_USES[mime_type].values())
    if size > largest:
        raise InvalidRequest(f"A file of type {mime_type} may have {_told(largest)}.", code="media_too_large")


def fields_for(mime_type: str, size: int) -> tuple[str, ...]:
    """The fields of a request that take such a file, the best one first."""
    return tuple(field for field, most in _USES[mime_type].items() if size <= most)


def refusal(field: str, mime_type: str, size: int) -> InvalidRequest | None:
    """Why this field does not take such a file; None: it does."""
    most = _USES.get(mime_type, {}).get(field)
    if most is None:
        takes = ", ".join(kind for kind, uses in _USES.items() if field in uses)
        return InvalidRequest(f"{field} takes {takes}, but the file is {mime_type}.", code="wrong_media_kind")
    if size > most:
        return InvalidRequest(
            f"In {field} a file of type {mime_type} may have {_told(most)}.", code="media_too_large"
        )
    return None


def _told(size: int) -> str:
    return f"{size // MB} MB at the most" if size >= MB else f"{size // KB} kB at the most"
