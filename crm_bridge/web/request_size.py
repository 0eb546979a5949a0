"""How large a request may be. What is larger is refused before anybody reads it."""

from apiflask import APIFlask
from flask import request

from crm_bridge.web.problems import Problem

LARGEST_BODY_BYTES = 256 * 1024
#: As it stands on the wire. The server itself refuses a line of more than 8,190 (`worker.stack.parts`).
LONGEST_ADDRESS = 4000
#: All of them together; the server itself refuses a single one that is larger, and more than two hundred.
LARGEST_HEADERS = 16 * 1024


def register(app: APIFlask) -> None:
    #: Bulk requests have a limit of their own.
    app.config["MAX_CONTENT_LENGTH"] = LARGEST_BODY_BYTES

    @app.before_request
    def require_moderate_size() -> None:
        if max(len(request.environ.get("RAW_URI", "")), len(request.full_path)) > LONGEST_ADDRESS:
            raise Problem(
                414,
                "address_too_long",
                f"The address with its parameters has more than {LONGEST_ADDRESS} characters.",
            )
        if sum(len(name) + len(value) for name, value in request.headers) > LARGEST_HEADERS:
            raise Problem(431, "headers_too_long", f"The headers are larger than {LARGEST_HEADERS // 1024} kB.")
