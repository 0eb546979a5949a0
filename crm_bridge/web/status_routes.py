"""`/api/whatsapp`: how the channels stand."""

from typing import Any

from apiflask import APIBlueprint
from flask import Response, jsonify

from crm_bridge.web import answers, openapi
from crm_bridge.web.bounded import Bounded
from worker.channels import overview
from worker.database import snapshot
from worker.parts import Parts


def routes(parts: Parts, database: Bounded) -> APIBlueprint:
    blueprint = APIBlueprint("whatsapp", __name__, url_prefix="/api/whatsapp")

    @blueprint.get("/status")
    @openapi.describe(gives={200: answers.WhatsappStatus}, refuses=(401, 503))
    def get_status() -> Response:
        """How every channel stands: whether it can send, since when, what to do, and how much waits for it."""
        return jsonify(database.run(lambda: _read(parts)))

    return blueprint


def _read(parts: Parts) -> dict[str, Any]:
    interval_s = parts.settings.check_interval_s
    with snapshot(parts.engine) as connection:
        return overview.as_json(overview.standings(connection, now=parts.clock(), check_interval_s=interval_s))
