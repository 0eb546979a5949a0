"""`/api/whatsapp`: how channels stand, does sending work, what to do if not, and a test message that proves it."""

from apiflask import APIBlueprint
from flask import Response, jsonify

from crm_bridge.web import answers, diagnosis_answers, openapi
from crm_bridge.web.diagnosis_desk import DiagnosisDesk, DiagnosticsQuery, TestMessage, TroubleshootQuery
from worker.domain.access import Scope


def routes(desk: DiagnosisDesk) -> APIBlueprint:
    blueprint = APIBlueprint("whatsapp", __name__, url_prefix="/api/whatsapp")

    @blueprint.get("/status")
    @openapi.describe(gives={200: answers.WhatsappStatus})
    def get_status() -> Response:
        """How every channel stands: can it send, since when, what to do, how much waits, how well it delivers.

        A channel that was up when somebody last knew, and of which nobody has known for too long, is `unverified`.
        """
        return jsonify(desk.status())

    @blueprint.get("/diagnostics")
    @openapi.describe(gives={200: diagnosis_answers.Diagnostics}, refuses=(404,), query=DiagnosticsQuery)
    def get_diagnostics() -> Response:
        """Check everything that sending stands on, in the order in which trouble is best sought.

        Each check is ok, failed, unverified (not known, or known from evidence that is too old) or skipped, with its
        evidence and a remedy. Sends nothing, and takes ten seconds at the most. `proven` is true only where WhatsApp
        has ticked a message lately on every channel with a key.
        """
        return jsonify(desk.diagnostics())

    @blueprint.get("/troubleshoot")
    @openapi.describe(gives={200: diagnosis_answers.Troubleshooting}, refuses=(404,), query=TroubleshootQuery)
    def get_troubleshoot() -> Response:
        """Tell what to do about what is wrong now, step by step, the most urgent first."""
        return jsonify(desk.troubleshoot())

    @blueprint.post("/test-message")
    @openapi.describe(
        takes=TestMessage,
        gives={200: diagnosis_answers.TestResult},
        refuses=(409,),
        scope=Scope.SEND,
        example={"phone_number": "917033009600"},
    )
    def send_test_message() -> Response:
        """Send a test message, and follow it to WhatsApp's tick for up to `timeout_s` seconds.

        Answers when it is ticked, when nothing more can come of it, or when the time is over. `proven` is true only
        with a tick; else `stands_at`, `because` and `action` say how far it came, why, and what to do. A message that
        could not go out within five minutes expires.
        """
        return jsonify(desk.test_message())

    return blueprint
