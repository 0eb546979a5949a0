"""Reading a JSON object from a request, the lenient way the gateway's framework does."""

import json
from typing import Any

from aiohttp import web


async def read_object(request: web.Request) -> dict[str, Any]:
    """The posted object; an empty one when there is no body, no JSON, or JSON of another kind."""
    return parse_object(await request.read())


def parse_object(raw: bytes) -> dict[str, Any]:
    try:
        body = json.loads(raw.decode())
    except ValueError:
        return {}
    return body if isinstance(body, dict) else {}
