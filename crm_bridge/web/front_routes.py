"""`/`: where everything is, for whoever types the address into a browser."""

from apiflask import APIBlueprint
from flask import Response, jsonify

from crm_bridge.web.openapi import TITLE

PLACES = {
    "docs": "/docs",
    "description": "/openapi.json",
    "messages": "/api/messages",
    "status": "/api/whatsapp/status",
    "diagnostics": "/api/whatsapp/diagnostics",
    "metrics": "/metrics",
    "alive": "/healthz",
    "ready": "/readyz",
}


def routes() -> APIBlueprint:
    blueprint = APIBlueprint("front", __name__, enable_openapi=False)

    @blueprint.get("/")
    def front() -> Response:
        return jsonify({"name": TITLE} | PLACES)

    return blueprint
