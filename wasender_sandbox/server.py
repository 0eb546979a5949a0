"""The HTTP server: puts the gateway's API, the control API and the page on one port."""

import asyncio
import ipaddress
import logging
import signal
import sys
from collections.abc import Awaitable, Callable, Iterable, Mapping
from email.utils import formatdate
from typing import Any

from aiohttp import web

from wasender_sandbox import access, replies
from wasender_sandbox.breakage import break_answer
from wasender_sandbox.control_api import ControlApi
from wasender_sandbox.errors import ControlError
from wasender_sandbox.faults import AFTER, BEFORE
from wasender_sandbox.gateway import Gateway, build_gateway
from wasender_sandbox.media_api import MediaApi
from wasender_sandbox.message_api import MessageApi
from wasender_sandbox.number_api import NumberApi
from wasender_sandbox.page import Page
from wasender_sandbox.sends import SendApi
from wasender_sandbox.session_api import SessionApi
from wasender_sandbox.session_logs import LogApi
from wasender_sandbox.settings import apply_settings
from wasender_sandbox.world import DEFAULT_PAT

#: Uploads reach 100 MB, a third more as base64.
MAX_BODY_BYTES = 140 * 1024 * 1024

SEND_PATH = "/api/send-message"

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def build_app(gateway: Gateway) -> web.Application:
    """The whole sandbox as an aiohttp application."""
    app = web.Application(middlewares=[_guard(gateway)], client_max_size=MAX_BODY_BYTES)
    app.on_response_prepare.append(_date(gateway))
    app.router.add_post(SEND_PATH, SendApi(gateway.world, gateway.webhooks, gateway.ticks).send_message)
    for api in (
        MessageApi(gateway.world, gateway.ticks),
        NumberApi(gateway.world),
        MediaApi(gateway.world),
        SessionApi(gateway.world, gateway.lifecycle),
        LogApi(gateway.world),
        ControlApi(gateway),
        Page(gateway),
    ):
        app.router.add_routes(api.routes())
    return app


def _date(gateway: Gateway) -> Any:
    """Answers of the gateway's API bear its own clock's time."""

    async def put_date(request: web.Request, response: web.StreamResponse) -> None:
        if request.path.startswith("/api/"):
            response.headers["Date"] = formatdate(gateway.world.gateway_now(), usegmt=True)

    return put_date


def _guard(gateway: Gateway) -> Any:
    """Around every request but sends: faults of other endpoints, control errors, the framework's own 404 and 405."""

    @web.middleware
    async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.path == SEND_PATH and request.method == "POST":
            return await handler(request)
        try:
            if request.path.startswith("/api/") and gateway.world.faults.armed:
                return await _with_faults(gateway, request, handler)
            return await handler(request)
        except ControlError as error:
            return replies.bare({"error": str(error)}, 400)
        except web.HTTPMethodNotAllowed:
            text = f"The {request.method} method is not supported for route {request.path[1:]}."
            return replies.bare({"message": text}, 405)
        except web.HTTPNotFound:
            return replies.bare({"message": f"The route {request.path[1:]} could not be found."}, 404)

    return guard


def endpoint_name(request: web.Request) -> str:
    """How faults call this endpoint: status, info, message-logs, on-whatsapp, list-sessions…"""
    return request.match_info.handler.__name__.replace("_", "-")


async def _with_faults(gateway: Gateway, request: web.Request, handler: Handler) -> web.StreamResponse:
    world = gateway.world
    endpoint = endpoint_name(request)
    channel = world.by_key.get(access.bearer(request) or "")
    session_id = request.match_info.get("session_id", "")
    if channel is None and session_id.isdecimal():
        channel = world.channel_by_id(int(session_id))
    name = channel.name if channel else None
    wait, fault = world.faults.strike(BEFORE, endpoint, name)
    await asyncio.sleep(wait)
    if fault is not None:
        return await break_answer(request, fault, None, fault.seconds.draw(world.rng))
    answer = await handler(request)
    wait, fault = world.faults.strike(AFTER, endpoint, name)
    await asyncio.sleep(wait)
    if fault is not None and isinstance(answer, web.Response):
        return await break_answer(request, fault, answer, fault.seconds.draw(world.rng))
    return answer


def add_channels(gateway: Gateway, channels: Iterable[Mapping[str, Any]]) -> None:
    """Channels to begin with: settings as `create_channel` takes them."""
    for given in channels:
        settings = dict(given)
        channel = gateway.world.add_channel(settings.pop("name"), settings.pop("api_key", None))
        apply_settings(channel, settings)


def serve(
    host: str = "127.0.0.1",
    port: int = 8900,
    *,
    seed: int = 0,
    pat: str = DEFAULT_PAT,
    channels: Iterable[Mapping[str, Any]] = (),
) -> None:
    """Run the sandbox until SIGTERM or SIGINT; port 0 picks a free one. Prints one line when it listens."""
    asyncio.run(_serve(host, port, seed, pat, list(channels)))


async def _serve(host: str, port: int, seed: int, pat: str, channels: list[Mapping[str, Any]]) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for name in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(name, stop.set)
    gateway = build_gateway(seed=seed, pat=pat)
    add_channels(gateway, channels)
    await gateway.webhooks.start()
    runner = web.AppRunner(build_app(gateway), access_log=None, shutdown_timeout=0.1)
    logging.getLogger("aiohttp.server").setLevel(logging.CRITICAL)
    await runner.setup()
    try:
        site = web.TCPSite(runner, host, port, backlog=1024)
        await site.start()
        bound = runner.addresses[0][1]
        shown = f"[{host}]" if ":" in host else host
        gateway.world.origin = f"http://{shown}:{bound}"
        announce(host, gateway.world.origin)
        await stop.wait()
    finally:
        gateway.world.schedule.clear()
        await gateway.webhooks.stop()
        await runner.cleanup()


def announce(host: str, origin: str) -> None:
    """Say where the sandbox listens, and warn when that is not only this machine."""
    if not _is_loopback(host):
        sys.stderr.write(
            f"WARNING: the sandbox listens on {host}, not only on this machine. It has no protection of its own: "
            "anyone who reaches this port can steer it and read every message in it. Use --host 127.0.0.1.\n"
        )
        sys.stderr.flush()
    sys.stdout.write(f"Sandbox WaSender on {origin}/api (control: {origin}/)\n")
    sys.stdout.flush()


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


#: The same under the name that a command line looks for.
run = serve
