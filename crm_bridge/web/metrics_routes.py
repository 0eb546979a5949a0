"""`/metrics`: how channels, messages and callbacks stand, for Prometheus and whatever reads its format."""

from apiflask import APIBlueprint
from flask import Response

from crm_bridge.web import openapi
from crm_bridge.web.diagnosis_desk import DiagnosisDesk
from worker import metrics


def routes(desk: DiagnosisDesk) -> APIBlueprint:
    blueprint = APIBlueprint("metrics", __name__)

    @blueprint.get("/metrics")
    @openapi.describe(gives={}, gives_text=metrics.EXAMPLE)
    def get_metrics() -> Response:
        """Tell all figures in Prometheus' text format: state, backlog, ticks and delivery of every channel, and what
        endpoints have not been told.
        """
        return Response(desk.metrics(), content_type=metrics.CONTENT_TYPE_LATEST)

    return blueprint
