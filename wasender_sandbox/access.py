"""Who is calling: a session key selects its channel, the personal access token opens the account's endpoints."""

from aiohttp import web

from wasender_sandbox import replies
from wasender_sandbox.channels import Channel
from wasender_sandbox.world import World


def bearer(request: web.Request) -> str | None:
    """The token of `Authorization: Bearer …`; other headers (apikey, X-API-Key) are not read."""
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" and token.strip() else None


def refuse_key(world: World, token: str | None) -> web.Response:
    """401 for a missing or unknown session key."""
    if token is None:
        return replies.framework(replies.KEY_REQUIRED, 401)
    if world.switches.invalid_key_text == "old":
        return replies.framework("Invalid API key", 401)
    return replies.framework("invalid API key", 401, help_url=replies.HELP)


def no_subscription(world: World) -> web.Response:
    return replies.framework(replies.NO_SUBSCRIPTION, world.switches.subscription_http_status)


def not_connected(world: World) -> web.Response:
    """The refusal of a session that is down: F4, HTTP 200 with `success` false, unless switched."""
    return replies.framework(replies.NOT_CONNECTED, world.switches.down_http_status)


def session_of(world: World, request: web.Request) -> Channel | web.Response:
    """The channel whose key was sent, or the 401 or subscription answer."""
    token = bearer(request)
    channel = world.by_key.get(token or "")
    if channel is None:
        return refuse_key(world, token)
    return channel if world.switches.subscription_active else no_subscription(world)


def account_refusal(world: World, request: web.Request) -> web.Response | None:
    """401 unless the personal access token was sent."""
    token = bearer(request)
    if token == world.pat:
        return None
    if token is None:
        return replies.framework(replies.KEY_REQUIRED, 401)
    return replies.framework(replies.PAT_REQUIRED, 401, help_url=replies.HELP)
