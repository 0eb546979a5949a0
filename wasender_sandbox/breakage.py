"""Carrying out a fault on a live request: broken bodies, broken connections, silence."""

import asyncio
import socket
import struct

from aiohttp import web

from wasender_sandbox import replies
from wasender_sandbox.faults import Fault

#: How often a hanging request looks whether its client is still there, in seconds.
HANG_POLL_S = 0.1


async def break_answer(
    request: web.Request, fault: Fault, answer: web.Response | None, hang_s: float
) -> web.StreamResponse:
    """The response (or the lack of one) that the fault makes of `answer`; None when nothing was processed."""
    match fault.kind:
        case "reset":
            return _drop(request, reset=True)
        case "close":
            return _drop(request, reset=False)
        case "hang":
            await _hang(request, hang_s)
            return _drop(request, reset=False)
        case "truncated":
            return await _truncated(request, fault.status, _body_of(answer))
        case "throttled":
            text = "You have account protection enabled. You can only send 1 message every 5 seconds."
            return replies.throttled(text, {"retry_after": fault.retry_after})
        case "not_connected":
            return replies.framework(replies.NOT_CONNECTED, 200)
        case _:
            return _spoilt(fault, _body_of(answer))


def _spoilt(fault: Fault, body: bytes) -> web.Response:
    match fault.kind:
        case "error":
            return replies.bare({"success": False, "message": "Server Error"}, fault.status)
        case "html":
            return replies.cloudflare(fault.status)
        case "empty":
            return web.Response(status=fault.status, content_type="application/json")
        case "bad_json":
            cut = body[: max(len(body) * 2 // 3, 1)]
            return web.Response(body=cut, status=fault.status, content_type="application/json")
        case "wrong_types":
            odd = {"success": "yes", "data": [{"msgId": {"value": None}, "jid": 7, "status": ["in_progress"]}]}
            return replies.bare(odd, fault.status)
        case "no_msg_id":
            return replies.bare({"success": True, "data": {"status": "in_progress"}}, fault.status)
        case _:
            return web.Response(text=fault.body, status=fault.status, content_type=_type_of(fault.body))


def answered_status(fault: Fault, response: web.StreamResponse) -> int:
    """The HTTP status that reached the client; 0 when none did."""
    return 0 if fault.kind in {"reset", "close", "hang"} else response.status


def _body_of(answer: web.Response | None) -> bytes:
    body = answer.body if answer is not None else None
    return body if isinstance(body, bytes) and body else b'{"success":true,"data":{"status":"in_progress"}}'


def _type_of(body: str) -> str:
    return "application/json" if body.lstrip()[:1] in {"{", "["} else "text/html"


def _drop(request: web.Request, *, reset: bool) -> web.Response:
    transport = request.transport
    if transport is not None:
        if reset:
            peer = transport.get_extra_info("socket")
            if peer is not None:
                peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        transport.abort()
    return web.Response(status=500)


async def _hang(request: web.Request, seconds: float) -> None:
    loop = asyncio.get_running_loop()
    end = loop.time() + seconds
    while loop.time() < end:
        if request.transport is None or request.transport.is_closing():
            return
        await asyncio.sleep(min(HANG_POLL_S, max(end - loop.time(), 0)))


async def _truncated(request: web.Request, status: int, body: bytes) -> web.StreamResponse:
    response = web.StreamResponse(status=status)
    response.content_type = "application/json"
    response.content_length = len(body)
    await response.prepare(request)
    await response.write(body[: len(body) // 2])
    if request.transport is not None:
        request.transport.close()
    return response
