"""What an error looks like on the wire: application/problem+json (RFC 9457) with a stable `code` beside it.

It needs no framework, because some errors are told before one has seen the request.
"""

import json
from http import HTTPStatus

CONTENT_TYPE = "application/problem+json"


def problem_body(status: int, code: str, detail: str, **more: object) -> str:
    body = {
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
        "code": code,
    }
    return json.dumps(body | more)
