"""`/api/channels`: how the channels stand, and a person's word that one has to stop or may go on."""

from typing import Any

from apiflask import APIBlueprint
from flask import Response, jsonify
from sqlalchemy import Connection

from crm_bridge.web import answers, composed_answers, openapi
from crm_bridge.web.bounded import Bounded
from crm_bridge.web.waking import Waker
from worker.channels import overview, registry, states
from worker.database import snapshot, transaction
from worker.domain.access import Scope
from worker.domain.channel_state import DEFAULT_CHANNEL
from worker.parts import Parts


def routes(parts: Parts, database: Bounded, checker: Waker) -> APIBlueprint:
    blueprint = APIBlueprint("channels", __name__, url_prefix="/api/channels")

    @blueprint.get("")
    @openapi.describe(gives={200: composed_answers.Channels})
    def get_channels() -> Response:
        """How every channel stands: whether it can send, since when, what to do, and how much waits for it."""
        return jsonify({"channels": database.run(lambda: _read(parts))})

    @blueprint.post("/<name>/pause")
    @openapi.describe(scope=Scope.OPERATE, gives={200: answers.Channel}, refuses=(404,))
    def pause_channel(name: str) -> Response:
        """Stop sending on a channel. What was handed to WaSender before may still go out; the rest waits."""

        def pause(connection: Connection, channel_id: int) -> None:
            states.pause(connection, channel_id, now=parts.clock())

        return jsonify(database.run(lambda: _change(parts, name, pause)))

    @blueprint.post("/<name>/resume")
    @openapi.describe(scope=Scope.OPERATE, gives={200: answers.Channel}, refuses=(404, 409))
    def resume_channel(name: str) -> Response:
        """Let a paused or blocked channel go on, once WaSender says that it is connected.

        Not one whose key is being replaced (`key_rotation`): the stored one may be dead.
        """

        def resume(connection: Connection, channel_id: int) -> None:
            states.resume(connection, channel_id, now=parts.clock())

        channel = database.run(lambda: _change(parts, name, resume))
        checker.wake()
        return jsonify(channel)

    return blueprint


def _read(parts: Parts, only: str | None = None) -> list[dict[str, Any]]:
    interval_s = parts.settings.check_interval_s
    with snapshot(parts.engine) as connection:
        found = overview.standings(connection, now=parts.clock(), check_interval_s=interval_s, only=only)
    return [channel.as_json() for channel in found]


def _change(parts: Parts, name: str, change: Any) -> dict[str, Any]:
    """Raises NotFound, and what the change raises."""
    with transaction(parts.engine) as connection:
        if name == DEFAULT_CHANNEL:  # it may be meant before the first worker or message has made it
            given = parts.settings
            registry.ensure_default(connection, given.pace, parts.clock(), daily_cap=given.daily_cap)
        change(connection, registry.channel_id(connection, name))
    [channel] = _read(parts, only=name)
    return channel
