"""All SQL on `media`: files that were handed over, and where WaSender has them for the time being."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, bindparam, delete, func, or_, select, text, update

from worker.database import insert_unless_there
from worker.domain.errors import InvalidRequest
from worker.domain.media import MEDIA_FIELDS, media_id, refusal
from worker.models import Media, Message

#: WaSender keeps an upload for 24 hours (contract 4.2). It fetches it some time after it has taken the message.
USABLE_FOR = timedelta(hours=20)
#: So long a file is kept after it was handed over last, though no message may need it any more.
KEEP_UNUSED = timedelta(days=30)
#: How many files are looked at in one transaction; each may have 16 MB.
BATCH = 50

#: Messages that may still be sent, by the conditions of the partial indexes, word for word.
_PENDING = (
    "messages.state = 'queued'",
    "messages.state IN ('sending', 'accepted', 'in_doubt') AND messages.attention IS NULL",
    "messages.attention IS NOT NULL",
)
_NAMED = {name.removesuffix("_url"): func.lower(Message.content[name].as_string()) for name in MEDIA_FIELDS}

_KINDS = select(Media.id, Media.mime_type, Media.size).where(Media.id.in_(bindparam("ids", expanding=True)))
_PLACES = select(Media.id, Media.public_url, Media.public_until).where(Media.id.in_(bindparam("ids", expanding=True)))


@dataclass(frozen=True, kw_only=True)
class StoredFile:
    """A file as it was handed over; `created` is False when the same bytes were there before."""

    id: UUID
    sha256: str
    mime_type: str
    size: int
    created: bool


@dataclass(frozen=True, kw_only=True)
class Upload:
    """What it takes to upload a file. `public_url` is set where WaSender has it already."""

    mime_type: str
    public_url: str | None = field(repr=False)


def store(
    connection: Connection, content: bytes, *, new_id: UUID, sha256: str, mime_type: str, now: datetime
) -> StoredFile:
    """Keep a file, once however often it is handed over."""
    row = {"id": new_id, "sha256": sha256, "mime_type": mime_type, "size": len(content), "created_at": now}
    known = select(Media.id, Media.mime_type, Media.size).where(Media.sha256 == sha256)
    found = connection.execute(known).one_or_none()
    if found is not None:
        connection.execute(update(Media).where(Media.id == found.id).values(created_at=now))
    else:
        connection.execute(insert_unless_there(connection, Media).values(content=content, **row))
        found = connection.execute(known).one()
    return StoredFile(
        id=found.id, sha256=sha256, mime_type=found.mime_type, size=found.size, created=found.id == new_id
    )


class HandedOver:
    """The files that these new messages name, looked up together."""

    def __init__(self, connection: Connection, rows: Iterable[Mapping[str, Any]]) -> None:
        ids = {named for row in rows for named in files_in(row["content"]).values()}
        self._known = {row.id: row for row in connection.execute(_KINDS, {"ids": list(ids)})} if ids else {}

    def refusal(self, row: Mapping[str, Any]) -> InvalidRequest | None:
        """Why a message cannot go out with the file it names; None: it can, or it names none."""
        for name, named in files_in(row["content"]).items():
            file = self._known.get(named)
            if file is None:
                return InvalidRequest(
                    f"There is no file {named} for {name}. Hand it over first: POST /api/media.",
                    code="unknown_media",
                )
            if wrong := refusal(name, file.mime_type, file.size):
                return wrong
        return None


def with_public_urls(
    connection: Connection, contents: Collection[dict[str, Any]], *, now: datetime
) -> list[dict[str, Any]]:
    """These contents, each file that WaSender has replaced by its address. The others stay named as they are."""
    ids = {named for content in contents for named in files_in(content).values()}
    if not ids:
        return list(contents)
    places = {row.id: row for row in connection.execute(_PLACES, {"ids": list(ids)})}
    usable = {key: row.public_url for key, row in places.items() if _is_usable(row, now)}
    return [_placed(content, usable) for content in contents]


def as_posted(connection: Connection, content: dict[str, Any], *, at: datetime) -> dict[str, Any] | None:
    """This content as an attempt at that time posted it; None where nobody knows, for a file was uploaded anew since.

    An address is stored before it is used, so none that was used then is unknown unless a later one has replaced it.
    """
    named = files_in(content)
    if not named:
        return content
    places = {row.id: row for row in connection.execute(_PLACES, {"ids": list(named.values())})}
    then = {
        key: row.public_url
        for key, row in places.items()
        if row.public_url and row.public_until and row.public_until - USABLE_FOR <= at < row.public_until
    }
    return _placed(content, then) if then.keys() >= {*named.values()} else None


def for_upload(connection: Connection, media: UUID, *, now: datetime) -> Upload | None:
    """What is known of a file before it is uploaded; None: it is gone."""
    row = connection.execute(
        select(Media.mime_type, Media.public_url, Media.public_until).where(Media.id == media)
    ).one_or_none()
    if row is None:
        return None
    return Upload(mime_type=row.mime_type, public_url=row.public_url if _is_usable(row, now) else None)


def content_of(connection: Connection, media: UUID) -> bytes | None:
    """A file's bytes; None: it is gone."""
    content: bytes | None = connection.execute(select(Media.content).where(Media.id == media)).scalar_one_or_none()
    return content


def learn_public_url(connection: Connection, media: UUID, public_url: str, *, now: datetime) -> str:
    """Note where WaSender has a file. Returns the address to use: another worker's, if that was faster."""
    connection.execute(
        update(Media)
        .where(Media.id == media, or_(Media.public_until.is_(None), Media.public_until <= now))
        .values(public_url=public_url, public_until=now + USABLE_FOR)
    )
    stored: str | None = connection.execute(select(Media.public_url).where(Media.id == media)).scalar_one_or_none()
    return stored or public_url


def forget_unused(
    connection: Connection, now: datetime, *, after: UUID | None = None, most: int = BATCH
) -> tuple[int, UUID | None]:
    """Delete those files of the next `most` old ones behind `after` (by id) that no message may need any more.

    Returns how many, and where to go on; None: that was the last of them.
    """
    old = select(Media.id).where(Media.created_at <= now - KEEP_UNUSED).order_by(Media.id).limit(most)
    ids = connection.execute(old if after is None else old.where(Media.id > after)).scalars().all()
    unused = set(ids) - _needed(connection, ids)
    if unused:
        # One that was handed over again meanwhile is no longer old.
        mine = (Media.id.in_(unused), Media.created_at <= now - KEEP_UNUSED)
        deleted = connection.execute(delete(Media).where(*mine)).rowcount
    else:
        deleted = 0
    return deleted, ids[-1] if len(ids) == most else None


def _needed(connection: Connection, ids: Collection[UUID]) -> set[UUID]:
    references = [f"media:{one}" for one in ids]
    found: set[UUID] = set()
    for pending in _PENDING if ids else ():
        for kind, named in _NAMED.items():
            query = select(named).where(text(pending), Message.kind == kind, named.in_(references)).distinct()
            found.update(one for url in connection.execute(query).scalars() if (one := media_id(url)) is not None)
    return found


def files_in(content: Mapping[str, Any]) -> dict[str, UUID]:
    """The files that a content names, by its fields."""
    return {name: named for name in MEDIA_FIELDS if (named := media_id(content.get(name))) is not None}


def _placed(content: dict[str, Any], places: Mapping[UUID, str]) -> dict[str, Any]:
    found = {name: places[named] for name, named in files_in(content).items() if named in places}
    return content | found


def _is_usable(row: Any, now: datetime) -> bool:
    return row.public_url is not None and row.public_until is not None and bool(now < row.public_until)
