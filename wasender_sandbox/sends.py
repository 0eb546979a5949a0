"""POST /send-message: authentication, subscription, throttle, validation, session, recipient, acceptance.

Latency and faults come in between: what strikes before acceptance leaves nothing behind, what strikes after leaves an
accepted message and a spoilt answer. The work goes on when the client has left, as a real server's does.
"""

import asyncio
from typing import Any
from urllib.parse import urlsplit

from aiohttp import web

from wasender_sandbox import access, messages, rates, replies
from wasender_sandbox.attempts import Attempt
from wasender_sandbox.breakage import answered_status, break_answer
from wasender_sandbox.channels import Channel
from wasender_sandbox.faults import AFTER, BEFORE, Fault
from wasender_sandbox.json_body import parse_object
from wasender_sandbox.ledger import Entry
from wasender_sandbox.recipients import Recipient
from wasender_sandbox.ticks import INVALID_NUMBER, MEDIA_UNREACHABLE, Ticks
from wasender_sandbox.webhooks import Webhooks
from wasender_sandbox.world import World

ENDPOINT = "send-message"

#: A refusal: the stable reason word of the attempt, and the answer.
Refusal = tuple[str, web.Response]


class SendApi:
    """The one endpoint that sends, for every message type."""

    def __init__(self, world: World, webhooks: Webhooks, ticks: Ticks) -> None:
        self._world = world
        self._webhooks = webhooks
        self._ticks = ticks

    async def send_message(self, request: web.Request) -> web.StreamResponse:
        world = self._world
        attempt = world.attempts.open(world.clock.now())
        log = world.attempts
        try:
            token = access.bearer(request)
            raw = await request.read()
            channel = world.by_key.get(token or "")
            if channel is None:
                return _refuse(attempt, ("auth", access.refuse_key(world, token)))
            attempt.channel = channel.name
            channel.in_flight += 1
            attempt.in_flight = channel.in_flight
            channel.max_in_flight = max(channel.max_in_flight, channel.in_flight)
            try:
                return await self._serve(request, attempt, channel, raw)
            finally:
                channel.in_flight -= 1
        finally:
            log.close(attempt, world.clock.now())

    async def _serve(
        self, request: web.Request, attempt: Attempt, channel: Channel, raw: bytes
    ) -> web.StreamResponse:
        world = self._world
        body = parse_object(raw)
        to, text = _word(body.get("to")), _word(body.get("text"))
        attempt.to = to
        latency_before, latency_after = world.latency_for(channel)

        refusal = self._admit(channel, attempt.arrived_at)
        await _pause(latency_before.draw(world.rng))
        if refusal is None:
            wait, fault = world.faults.strike(BEFORE, ENDPOINT, channel.name, to, text)
            await _pause(wait)
            if fault is not None:
                attempt.decision = "refused"
                return await self._break(request, attempt, fault, None)
            recipient, kind, refusal = self._check(channel, attempt.arrived_at, body)
        if refusal is not None:
            answer = _refuse(attempt, refusal)
            answer.headers.update(rates.send_headers(world, channel, limited=answer.status == 429))
            await _pause(latency_after.draw(world.rng))
            return answer

        assert recipient is not None
        early = _happens(world, world.trouble_for(channel).early)
        entry = self._accept(channel, attempt, recipient, kind, raw.decode(), body, early)
        answer = replies.bare(
            {"success": True, "data": {"msgId": entry.msg_id, "jid": to, "status": "in_progress"}},
            headers=rates.send_headers(world, channel, limited=False),
        )
        if early:
            await self._webhooks.settle(channel)
        await _pause(latency_after.draw(world.rng))
        wait, fault = world.faults.strike(AFTER, ENDPOINT, channel.name, to, text)
        await _pause(wait)
        if fault is not None:
            return await self._break(request, attempt, fault, answer)
        attempt.answer = answer.status
        return answer

    def _admit(self, channel: Channel, arrived_at: float) -> Refusal | None:
        """What is decided on arrival: the subscription and, unless switched, the throttle."""
        if not self._world.switches.subscription_active:
            return "subscription", access.no_subscription(self._world)
        if self._world.switches.check_order == "throttle_first":
            return rates.take_send_slot(self._world, channel, arrived_at)
        return None

    def _check(
        self, channel: Channel, arrived_at: float, body: dict[str, Any]
    ) -> tuple[Recipient | None, str, Refusal | None]:
        """Validation, session, recipient; a refusal gives its slot back when refusals do not count."""
        world = self._world
        recipient, kind, refusal = self._look_at(channel, body)
        throttle_last = world.switches.check_order == "session_first"
        if throttle_last and (refusal is None or refusal[0] not in {"validation", "not_connected"}):
            late = rates.take_send_slot(world, channel, arrived_at)
            if late is not None:
                return recipient, kind, late
        if refusal is not None and not throttle_last and not world.switches.refusals_consume_rate:
            rates.give_send_slot_back(world, channel)
        return recipient, kind, refusal

    def _look_at(self, channel: Channel, body: dict[str, Any]) -> tuple[Recipient | None, str, Refusal | None]:
        world, switches = self._world, self._world.switches
        recipient, kind, errors = messages.check(body, switches)
        if errors or recipient is None:
            answer = replies.framework(messages.summary(errors), switches.validation_http_status, errors=errors)
            return recipient, kind, ("validation", answer)
        if not channel.connected and not switches.accept_when_down:
            return recipient, kind, ("not_connected", access.not_connected(world))
        if _happens(world, switches.spurious_not_connected):
            return recipient, kind, ("not_connected_spurious", access.not_connected(world))
        if recipient.kind == "person" and recipient.digits == channel.own_digits:
            return recipient, kind, ("own_number", replies.framework(replies.OWN_NUMBER, 200))
        missing = not world.rules.exists(recipient) and switches.not_on_whatsapp == "sync"
        if missing or _happens(world, switches.not_on_whatsapp_flaky):
            errors = {"to": [replies.NOT_ON_WHATSAPP_DETAIL]}
            answer = replies.framework(replies.NOT_ON_WHATSAPP, 422, errors=errors)
            return recipient, kind, ("not_on_whatsapp", answer)
        if switches.media_failures == "sync" and _is_unreachable(messages.media_url(body)):
            answer = replies.framework(MEDIA_UNREACHABLE, switches.validation_http_status)
            return recipient, kind, ("media", answer)
        return recipient, kind, None

    def _accept(
        self,
        channel: Channel,
        attempt: Attempt,
        recipient: Recipient,
        kind: str,
        posted: str,
        body: dict[str, Any],
        early: bool,
    ) -> Entry:
        world, switches = self._world, self._world.switches
        attempt.decision, attempt.recipient = "accepted", recipient.address
        same = (channel.name, recipient.address, posted)
        if switches.deduplicate and same in world.seen:
            attempt.reason = "deduplicated"
            attempt.msg_id = world.seen[same].msg_id
            return world.seen[same]
        entry = Entry(
            index=len(world.ledger.entries),
            msg_id=world.ledger.next_msg_id(),
            channel=channel.name,
            channel_id=channel.id,
            to=attempt.to,
            recipient=recipient.address,
            recipient_jid=recipient.jid,
            kind=kind,
            body=posted,
            request_at=attempt.arrived_at,
            received_at=world.clock.now(),
        )
        attempt.msg_id = entry.msg_id
        world.ledger.add(entry)
        channel.entries.append(entry)
        if switches.deduplicate:
            world.seen[same] = entry
        self._ticks.follow(entry, recipient, failure=self._failure(recipient, body), early=early)
        return entry

    def _failure(self, recipient: Recipient, body: dict[str, Any]) -> str | None:
        """Why this accepted message will fail later, if it will."""
        world = self._world
        if recipient.digits in world.rules.fails_later or not world.rules.exists(recipient):
            return INVALID_NUMBER
        if world.switches.media_failures == "async" and _is_unreachable(messages.media_url(body)):
            return MEDIA_UNREACHABLE
        return None

    async def _break(
        self, request: web.Request, attempt: Attempt, fault: Fault, answer: web.Response | None
    ) -> web.StreamResponse:
        attempt.reason = f"fault:{fault.kind}"
        hang_s = fault.seconds.draw(self._world.rng)
        response = await break_answer(request, fault, answer, hang_s)
        attempt.answer = answered_status(fault, response)
        return response


def _refuse(attempt: Attempt, refusal: Refusal) -> web.Response:
    attempt.decision = "refused"
    attempt.reason, answer = refusal
    attempt.answer = answer.status
    return answer


def _word(value: object) -> str:
    return value if isinstance(value, str) else ""


def _is_unreachable(url: str | None) -> bool:
    if not url:
        return False
    parts = urlsplit(url)
    return (parts.hostname or "").endswith(".invalid") or "unreachable" in parts.path


def _happens(world: World, chance: float) -> bool:
    return chance > 0 and world.rng.random() < chance


async def _pause(seconds: float) -> None:
    if seconds > 0:
        await asyncio.sleep(seconds)
