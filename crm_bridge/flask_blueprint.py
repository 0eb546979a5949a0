"""Mounts the four questions of `/api/whatsapp` in a CRM that is a Flask application of its own.

    from crm_bridge.flask_blueprint import whatsapp_blueprint

    app.register_blueprint(whatsapp_blueprint(authorize=lambda scope: current_user.is_authenticated))

The CRM's process needs the settings of the workers: DATABASE_URL, CELERY_BROKER_URL, and, to ask WaSender itself, its
base URL and keys. It gets no Celery app, no logging and no thread of Truetick's before the first question.
"""

import threading
from collections.abc import Callable

from flask import Blueprint, Response, jsonify, request
from werkzeug.wrappers import Response as AnyResponse

from crm_bridge.web import problems
from crm_bridge.web.bounded import Bounded
from crm_bridge.web.diagnosis_desk import DiagnosisDesk
from crm_bridge.web.problems import Problem
from worker.domain.access import Scope
from worker.parts import Parts
from worker.parts import parts as parts_of_process

#: Takes the scope that the question needs (`read` or `send`) and says whether whoever asks may: True, or a response
#: to give instead, such as a redirect to the CRM's login. Anything else is a no.
Authorize = Callable[[str], bool | AnyResponse]

DATABASE_WAIT_S = 8.0
DATABASE_CALLS = 8
_SCOPES = {"send_test_message": Scope.SEND}


def whatsapp_blueprint(
    *, authorize: Authorize | None = None, parts: Parts | None = None, url_prefix: str = "/api/whatsapp"
) -> Blueprint:
    """`GET /status`, `GET /diagnostics`, `GET /troubleshoot` and `POST /test-message` under `url_prefix`.

    Without `authorize` it is closed to everybody. Errors are application/problem+json (RFC 9457). `parts` are this
    process's own if none are given, from its environment.
    """
    blueprint = Blueprint("truetick_whatsapp", __name__, url_prefix=url_prefix)
    opened = _Opened(parts)
    problems.register(blueprint)

    @blueprint.before_request
    def require_leave() -> AnyResponse | None:
        return _refusal(authorize)

    @blueprint.get("/status")
    def get_status() -> Response:
        return jsonify(opened.desk.status())

    @blueprint.get("/diagnostics")
    def get_diagnostics() -> Response:
        return jsonify(opened.desk.diagnostics())

    @blueprint.get("/troubleshoot")
    def get_troubleshoot() -> Response:
        return jsonify(opened.desk.troubleshoot())

    @blueprint.post("/test-message")
    def send_test_message() -> Response:
        return jsonify(opened.desk.test_message())

    @blueprint.after_request
    def keep_nothing(response: Response) -> Response:
        response.headers.setdefault("Cache-Control", "no-store")
        return response

    return blueprint


class _Opened:
    """The desk, made by the first question: web servers fork after they have loaded the application."""

    def __init__(self, parts: Parts | None) -> None:
        self._parts = parts
        self._making = threading.Lock()
        self._desk: DiagnosisDesk | None = None

    @property
    def desk(self) -> DiagnosisDesk:
        with self._making:
            if self._desk is None:
                database = Bounded(most=DATABASE_CALLS, wait_s=DATABASE_WAIT_S)
                self._desk = DiagnosisDesk(self._parts or parts_of_process(), database)
            return self._desk


def _refusal(authorize: Authorize | None) -> AnyResponse | None:
    """None where whoever asks may. Raises Problem."""
    if authorize is None:
        raise Problem(
            403,
            "closed",
            "These pages are closed: the application did not say who may see them. Give whatsapp_blueprint an "
            "`authorize` function.",
        )
    scope = _SCOPES.get((request.endpoint or "").rpartition(".")[2], Scope.READ)
    said = authorize(scope.value)
    if isinstance(said, AnyResponse):
        return said
    if said is not True:
        raise Problem(403, "not_authorized", f"You may not do this here: it needs the scope {scope}.")
    return None
