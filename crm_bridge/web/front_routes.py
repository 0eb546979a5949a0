"""`/`: the dashboard for browsers, and for programs where everything is."""

from apiflask import APIBlueprint
from flask import jsonify, redirect, request, url_for
from werkzeug.wrappers import Response as AnyResponse

from crm_bridge.web.openapi import TITLE

PLACES = {
    "dashboard": "/dashboard",
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
    def front() -> AnyResponse:
        if request.accept_mimetypes.best_match(["application/json", "text/html"]) == "text/html":
            return redirect(url_for("dashboard.overview"))
        return jsonify({"name": TITLE} | PLACES)

    return blueprint
