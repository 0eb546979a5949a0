"""A message's id as it stands in addresses."""

import re
from uuid import UUID

from werkzeug.routing import BaseConverter

from crm_bridge.web.problems import Problem

#: What follows /api/messages/ and is no message's id.
RESERVED = ("bulk", "changes")
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.ASCII | re.IGNORECASE)


class MessageIdConverter(BaseConverter):
    """A part of a path that is meant as a message's id, be it one or not."""

    regex = rf"(?!(?:{'|'.join(RESERVED)})$)[^/]+"
    part_isolating = True


def is_message_id(text: str) -> bool:
    return _UUID.fullmatch(text) is not None


def as_uuid(text: str) -> UUID:
    """Raises Problem (422) for what cannot be a message's id."""
    if not is_message_id(text):
        raise Problem(
            422, "bad_message_id", "A message's id is a UUID, such as 019aa7b2-6d4e-4f0a-9d55-1f3a4c5b6d7e."
        )
    return UUID(text)
