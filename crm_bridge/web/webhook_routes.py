"""`/webhooks/wasender/{channel}`: WaSender tells what happened. Stored first, answered second, understood later."""

from collections.abc import Sequence

from apiflask import APIBlueprint
from flask import Response, jsonify, request

from crm_bridge.web import answers, json_body, openapi
from crm_bridge.web.bounded import Bounded
from crm_bridge.web.problems import Problem
from crm_bridge.web.rates import Rates, address_of
from crm_bridge.web.waking import Waker
from crm_bridge.web.webhook_access import WebhookAccess
from worker.channels import registry
from worker.channels.webhooks import note_webhook
from worker.database import transaction
from worker.domain.errors import InvalidRequest
from worker.domain.opt_out import WishWords
from worker.gateway.webhooks import Fact, read_webhook
from worker.outbox import webhook_facts
from worker.parts import Parts

SIGNATURE_HEADER = "X-Webhook-Signature"
#: WaSender gives up after a few seconds. Webhooks that wait for a frozen database leave threads for everything else.
DATABASE_WAIT_S = 4.0
DATABASE_CALLS = 8


def routes(parts: Parts, waker: Waker, rates: Rates) -> APIBlueprint:
    blueprint = APIBlueprint("webhooks", __name__, url_prefix="/webhooks")
    database = Bounded(most=DATABASE_CALLS, wait_s=DATABASE_WAIT_S)
    access = WebhookAccess(parts, database)
    words = WishWords.of(parts.settings.stop_words, parts.settings.start_words)

    @blueprint.post("/wasender/<channel>")
    @openapi.describe(
        scope=None,
        webhook_secret=True,
        takes=answers.Webhook,
        example={"event": "session.status", "data": {"status": "connected"}},
        gives={200: answers.Received},
        refuses=(400, 401, 413, 500, 503),
    )
    def hear(channel: str) -> Response:
        """Take a webhook of WaSender's.

        The header X-Webhook-Signature has to hold the webhook secret of the channel. What the webhook says is stored
        when this answers 200; an event that says nothing about messages or the session is answered alike.
        """
        shown = request.headers.get(SIGNATURE_HEADER, "").encode("latin-1", "replace")
        channel_id = _admit(access, rates, channel, shown)
        try:
            facts = read_webhook(json_body.read_bytes(), words)
        except InvalidRequest as error:
            raise Problem(400, error.code, error.message) from None
        database.run(lambda: _store(parts, channel_id, facts))
        if facts:
            waker.wake()
        return jsonify({"received": True})

    return blueprint


def _admit(access: WebhookAccess, rates: Rates, channel: str, shown: bytes) -> int | None:
    """Only attempts that fail are counted: true webhooks come as fast as they come."""
    try:
        return access.admit(channel, shown)
    except Problem:
        rates.count(address_of(request.remote_addr))
        raise


def _store(parts: Parts, channel_id: int | None, facts: Sequence[Fact]) -> None:
    settings = parts.settings
    with transaction(parts.engine) as connection:
        now = parts.clock()
        if channel_id is None:
            channel_id = registry.ensure_default(connection, settings.pace, now, daily_cap=settings.daily_cap)
        webhook_facts.store(connection, channel_id, facts, now)
        note_webhook(connection, channel_id, now)
