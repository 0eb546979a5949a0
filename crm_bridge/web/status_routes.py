"""`/api/whatsapp/status`: how the channels stand, and how well they deliver."""

from apiflask import APIBlueprint
from flask import Response, jsonify

from crm_bridge.web import answers, openapi
from crm_bridge.web.diagnosis_desk import DiagnosisDesk


def routes(desk: DiagnosisDesk) -> APIBlueprint:
    blueprint = APIBlueprint("whatsapp", __name__, url_prefix="/api/whatsapp")

    @blueprint.get("/status")
    @openapi.describe(gives={200: answers.WhatsappStatus})
    def get_status() -> Response:
        """How every channel stands: can it send, since when, what to do, how much waits, how well it delivers.

        A channel that was up when somebody last knew, and of which nobody has known for too long, is `unverified`.
        """
        return jsonify(desk.status())

    return blueprint
