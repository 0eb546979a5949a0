"""The shapes WaSender answers in: success, and the five kinds of failure (F1 to F5)."""

import json
from collections.abc import Mapping

from aiohttp import web

NOT_CONNECTED = "Your Whatsapp Session is not connected please connect your session first."
NOT_ON_WHATSAPP = "JID does not exist on WhatsApp"
NOT_ON_WHATSAPP_DETAIL = "The provided JID does not exist on WhatsApp."
BAD_JID = "The to must be a valid WhatsApp JID (User, Group, or Channel format)."
OWN_NUMBER = "You cannot send a message to your own number."
NO_SUBSCRIPTION = "Active subscription or trial is required to use the API"
KEY_REQUIRED = "API key is required"
KEY_UNKNOWN_TO_STATUS = "Session not found for the provided API key"
PAT_REQUIRED = "This endpoint requires a valid personal access token."
HELP = "https://wasenderapi.com/api-docs"

#: JSON text without spaces, all ASCII.
compact = json.JSONEncoder(separators=(",", ":")).encode


def bare(body: Mapping[str, object], status: int = 200, headers: Mapping[str, str] | None = None) -> web.Response:
    """Any JSON object, as it is."""
    return web.Response(body=compact(body).encode(), status=status, headers=headers, content_type="application/json")


def ok(data: object) -> web.Response:
    """`{"success": true, "data": …}`."""
    return bare({"success": True, "data": data})


def framework(
    message: str,
    status: int,
    *,
    errors: Mapping[str, list[str]] | None = None,
    help_url: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> web.Response:
    """F1 (and F4 when `status` is 200): `success` false with `message`."""
    body: dict[str, object] = {"success": False, "message": message}
    if errors:
        body["errors"] = errors
    if help_url:
        body["help"] = help_url
    return bare(body, status, headers)


def controller(error: str, status: int) -> web.Response:
    """F2: `success` false with `error` and no `message`."""
    return bare({"success": False, "error": error}, status)


def throttled(message: str, retry_after: Mapping[str, int], headers: Mapping[str, str] | None = None) -> web.Response:
    """F3: HTTP 429 without a `success` key."""
    return bare({"message": message, **retry_after}, 429, headers)


def cloudflare(status: int = 520) -> web.Response:
    """F5: an HTML page of the proxy in front."""
    page = (
        "<!DOCTYPE html><html><head><title>wasenderapi.com | "
        f"{status}: Web server is returning an unknown error</title></head>"
        f"<body><h1>Error code {status}</h1><p>Cloudflare</p></body></html>"
    )
    return web.Response(text=page, status=status, content_type="text/html", headers={"Server": "cloudflare"})
