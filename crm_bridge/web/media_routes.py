"""`/api/media`: a CRM hands a file over, once, and then names it in as many messages as it likes."""

import hashlib
from typing import Any
from uuid import UUID, uuid4

from apiflask import APIBlueprint
from flask import Response, jsonify, request
from pydantic import BaseModel, ConfigDict

from crm_bridge.web import json_body, openapi
from crm_bridge.web.bounded import Bounded
from crm_bridge.web.problems import Problem
from worker.database import transaction
from worker.domain.access import Scope
from worker.domain.errors import InvalidRequest
from worker.domain.file_type import check_type
from worker.domain.media import LARGEST_FILE, MIME_TYPES, check_size, fields_for, known_type, url_of
from worker.outbox import media
from worker.outbox.media import StoredFile
from worker.parts import Parts

EXAMPLE = {
    "id": "019aa7b2-7c11-4d5e-8f00-2b6d1c3e4a5f",
    "url": "media:019aa7b2-7c11-4d5e-8f00-2b6d1c3e4a5f",
    "mime_type": "application/pdf",
    "size": 48213,
    "sha256": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
    "fields": ["document_url"],
}


class File(BaseModel):
    """`url` is what a message names it by, in one of `fields`."""

    model_config = ConfigDict(extra="forbid")

    id: UUID
    url: str
    mime_type: str
    size: int
    sha256: str
    fields: list[str]


def routes(parts: Parts, database: Bounded) -> APIBlueprint:
    blueprint = APIBlueprint("media", __name__, url_prefix="/api/media")

    @blueprint.post("")
    @openapi.describe(scope=Scope.SEND, takes_files=MIME_TYPES, gives={201: File, 200: File}, answers=EXAMPLE)
    def keep_file() -> tuple[Response, int]:
        """Hand a file over, as the plain body, to be named in messages as `image_url`, `document_url`…

        Up to 16 MB; the smaller limits of WhatsApp hold for each field. Answers 201, or 200 when the same bytes were
        handed over before. It is uploaded to WaSender when a message with it is sent, and again whenever WaSender no
        longer has it.
        """
        request.max_content_length = LARGEST_FILE
        mime_type = _declared_type()
        content = json_body.read_bytes()
        check_size(mime_type, len(content))
        check_type(mime_type, content)
        stored = database.run(lambda: _store(parts, content, mime_type))
        return jsonify(_shown(stored)), 201 if stored.created else 200

    return blueprint


def _declared_type() -> str:
    if request.headers.get("Content-Encoding", "identity") != "identity":
        raise Problem(415, "wrong_content_type", "Send the file as it is, not compressed.")
    try:
        return known_type(request.mimetype)
    except InvalidRequest as error:
        raise Problem(415, error.code, error.message) from None


def _store(parts: Parts, content: bytes, mime_type: str) -> StoredFile:
    sha256 = hashlib.sha256(content).hexdigest()
    with transaction(parts.engine) as connection:
        return media.store(connection, content, new_id=uuid4(), sha256=sha256, mime_type=mime_type, now=parts.clock())


def _shown(stored: StoredFile) -> dict[str, Any]:
    return {
        "id": str(stored.id),
        "url": url_of(stored.id),
        "mime_type": stored.mime_type,
        "size": stored.size,
        "sha256": stored.sha256,
        "fields": list(fields_for(stored.mime_type, stored.size)),
    }
