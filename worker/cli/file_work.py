"""A file from the operator's own disk, on its way into a message."""

import hashlib
import mimetypes
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from uuid import uuid4

from sqlalchemy import Connection

from worker.domain.errors import InvalidRequest
from worker.domain.file_type import check_type
from worker.domain.media import check_size, fields_for, known_type, url_of
from worker.outbox import media

#: What the tables of types of some systems lack.
_TYPES = {".webp": "image/webp", ".ogg": "audio/ogg", ".opus": "audio/ogg", ".amr": "audio/amr", ".3gp": "video/3gpp"}


@dataclass(frozen=True, kw_only=True)
class GivenFile:
    name: str
    mime_type: str
    content: bytes = field(repr=False)


def read(path: Path) -> GivenFile:
    """Raises InvalidRequest for what cannot be sent."""
    declared = _TYPES.get(path.suffix.lower()) or mimetypes.guess_type(path.name)[0] or ""
    try:
        mime_type = known_type(declared)
        check_size(mime_type, path.stat().st_size)
        content = path.read_bytes()
        check_type(mime_type, content)
    except OSError as error:
        raise InvalidRequest(f"{path.name} cannot be read: {error.strerror}.", code="unreadable_file") from None
    except InvalidRequest as error:
        raise InvalidRequest(f"{path.name}: {error.message}", code=error.code) from None
    return GivenFile(name=path.name, mime_type=mime_type, content=content)


def keep(connection: Connection, file: GivenFile, *, now: datetime) -> dict[str, str]:
    """Store the file. Returns the part of a request that sends it, in the field that shows it best."""
    stored = media.store(
        connection,
        file.content,
        new_id=uuid4(),
        sha256=hashlib.sha256(file.content).hexdigest(),
        mime_type=file.mime_type,
        now=now,
    )
    shown_as = fields_for(stored.mime_type, stored.size)[0]
    named = {"file_name": file.name[:200]} if shown_as == "document_url" else {}
    return named | {shown_as: url_of(stored.id)}
