"""Is a file what it is said to be? Told by the bytes that it begins with. Pure; slow to import, so imported late.

WaSender looks at them too, when the file is uploaded; whoever hands it over should learn of a mistake at once.
"""

from worker.domain.errors import InvalidRequest

#: The endings under which puremagic knows the bytes of a type. Office files of one family begin alike.
_ENDINGS: dict[str, frozenset[str]] = {
    "image/jpeg": frozenset({".jpg", ".jpeg"}),
    "image/png": frozenset({".png"}),
    "image/webp": frozenset({".webp"}),
    "video/mp4": frozenset({".mp4", ".m4v"}),
    "video/3gpp": frozenset({".3gp"}),
    "audio/aac": frozenset({".aac"}),
    "audio/mpeg": frozenset({".mp3"}),
    "audio/ogg": frozenset({".ogg", ".opus", ".oga"}),
    "audio/amr": frozenset({".amr"}),
    "application/pdf": frozenset({".pdf"}),
    "application/rtf": frozenset({".rtf"}),
    "application/zip": frozenset({".zip"}),
    "application/msword": frozenset({".doc"}),
    "application/vnd.ms-excel": frozenset({".xls"}),
    "application/vnd.ms-powerpoint": frozenset({".ppt"}),
    "application/vnd.openxmlformats-officedocument.wordprocessingml.document": frozenset({".docx"}),
    "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet": frozenset({".xlsx"}),
    "application/vnd.openxmlformats-officedocument.presentationml.presentation": frozenset({".pptx"}),
    "application/vnd.oasis.opendocument.text": frozenset({".odt", ".zip"}),
    "application/vnd.oasis.opendocument.spreadsheet": frozenset({".ods", ".zip"}),
    "application/vnd.oasis.opendocument.presentation": frozenset({".odp", ".zip"}),
}
#: What puremagic lacks: MPEG audio without a tag at lower rates, and most of the brands of MP4 and 3GPP, which stand
#: behind "ftyp" and are told by their first three letters.
_MPEG_AUDIO = (b"\xff\xf2", b"\xff\xf3", b"\xff\xfa", b"\xff\xfb")
_BRANDS = {
    "video/mp4": (b"iso", b"mp4", b"avc", b"das", b"M4V", b"MSN", b"mmp", b"f4v", b"3gp"),
    "video/3gpp": (b"3gp", b"3g2"),
}
#: So much of a file is looked at.
_HEAD = 64 * 1024


def check_type(mime_type: str, content: bytes) -> None:
    """Raises InvalidRequest (`media_mismatch`) for a file that is not of this type (one of `media.MIME_TYPES`)."""
    plain = mime_type.startswith("text/")
    if not (_is_text(content) if plain else _begins_like(mime_type, content)):
        raise InvalidRequest(
            f"The file does not begin like one of type {mime_type}. Say what it really is, or convert it.",
            code="media_mismatch",
        )


def _begins_like(mime_type: str, content: bytes) -> bool:
    head = content[:_HEAD]
    if mime_type in _BRANDS and head[4:8] == b"ftyp":
        return head.startswith(_BRANDS[mime_type], 8)
    if mime_type == "audio/mpeg" and head.startswith(_MPEG_AUDIO):
        return True
    return not _endings(head).isdisjoint(_ENDINGS[mime_type])


def _endings(head: bytes) -> set[str]:
    """The endings of the types that these bytes speak for most."""
    import puremagic  # reads its whole table, 50 ms that only those pay who hand over files

    try:
        matches = puremagic.magic_string(head)
    except (puremagic.PureError, ValueError):
        return set()
    surest = max(match.confidence for match in matches)
    return {match.extension.lower() for match in matches if match.confidence == surest}


def _is_text(content: bytes) -> bool:
    try:
        content.decode()
    except UnicodeDecodeError:
        return False
    return b"\x00" not in content
