"""Puts the web application together: limits, access, routes, errors, headers."""

from apiflask import APIFlask
from flask import Response
from flask.json.provider import DefaultJSONProvider

from crm_bridge.web import access, health_routes, message_routes, openapi, problems, status_routes, webhook_routes
from crm_bridge.web.bounded import Bounded
from crm_bridge.web.waking import Waker, publish_hearing
from worker import tasks
from worker.logs import configure_logging
from worker.parts import Parts
from worker.parts import parts as parts_of_process

LARGEST_BODY_BYTES = 256 * 1024
#: How long a request waits for a database that has frozen, and how many may be waiting.
DATABASE_WAIT_S = 8.0
DATABASE_CALLS = 32
#: Webhooks come by the hundred; the worker is woken at once, and then this often.
HEARING_PAUSE_S = 0.1

_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cache-Control": "no-store",
}


def create_app(parts: Parts | None = None) -> APIFlask:
    """The application; with no parts given, on this process's own, as a program."""
    if parts is None:
        parts = parts_of_process()
        configure_logging(parts.settings)
    app = APIFlask("crm_bridge.web", title=openapi.TITLE, version=openapi.VERSION, docs_path=None)
    app.config["MAX_CONTENT_LENGTH"] = LARGEST_BODY_BYTES
    assert isinstance(app.json, DefaultJSONProvider)
    app.json.sort_keys = False
    database = Bounded(most=DATABASE_CALLS, wait_s=DATABASE_WAIT_S)
    problems.register(app)
    access.register(app, parts.settings.api_keys)
    app.register_blueprint(message_routes.routes(parts, database, Waker(tasks.wake_drain)))
    app.register_blueprint(status_routes.routes(parts, database))
    app.register_blueprint(health_routes.routes(parts))
    app.register_blueprint(webhook_routes.routes(parts, Waker(publish_hearing, pause_s=HEARING_PAUSE_S)))
    openapi.register(app)
    app.after_request(_add_headers)
    return app


def _add_headers(response: Response) -> Response:
    for name, value in _HEADERS.items():
        response.headers.setdefault(name, value)
    return response
