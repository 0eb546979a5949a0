"""Puts the web application together: limits, access, routes, errors, headers."""

from apiflask import APIFlask
from flask import Response
from flask.json.provider import DefaultJSONProvider
from werkzeug.middleware.proxy_fix import ProxyFix

from crm_bridge.web import (
    access,
    channel_routes,
    dashboard_routes,
    diagnosis_routes,
    docs_routes,
    front_routes,
    health_routes,
    media_routes,
    message_routes,
    metrics_routes,
    openapi,
    problems,
    reconnect_routes,
    request_size,
    webhook_routes,
)
from crm_bridge.web.bounded import Bounded
from crm_bridge.web.diagnosis_desk import DiagnosisDesk
from crm_bridge.web.known_keys import KnownKeys
from crm_bridge.web.message_id import MessageIdConverter
from crm_bridge.web.rates import Rates
from crm_bridge.web.reconnect_routes import LatestCodes
from crm_bridge.web.waking import Waker, publish_check, publish_drain, publish_hearing
from worker.logs import configure_logging
from worker.parts import Parts
from worker.parts import parts as parts_of_process

#: How long a request waits for a database that has frozen, and how many may be waiting.
DATABASE_WAIT_S = 8.0
DATABASE_CALLS = 32
#: Webhooks come by the hundred; the worker is woken at once, and then this often.
HEARING_PAUSE_S = 0.1
#: So often a drain run is asked for at the most; what is stored meanwhile, one run finds.
DRAIN_PAUSE_S = 0.1

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
    app.url_map.converters["message"] = MessageIdConverter
    assert isinstance(app.json, DefaultJSONProvider)
    app.json.sort_keys = False
    if proxies := parts.settings.trusted_proxies:
        # Whoever asks stands in what the nearest proxies wrote; what was there before them anybody can write.
        app.wsgi_app = ProxyFix(app.wsgi_app, x_for=proxies, x_proto=proxies)  # type: ignore[method-assign]
    database = Bounded(most=DATABASE_CALLS, wait_s=DATABASE_WAIT_S)
    rates = Rates(parts.settings.requests_per_minute)
    problems.register(app)
    request_size.register(app)
    access.register(app, KnownKeys(parts, parts.settings.api_keys), rates)
    app.register_blueprint(message_routes.routes(parts, database, Waker(publish_drain, pause_s=DRAIN_PAUSE_S)))
    app.register_blueprint(media_routes.routes(parts, database))
    desk = DiagnosisDesk(parts, database)
    app.register_blueprint(diagnosis_routes.routes(desk))
    app.register_blueprint(metrics_routes.routes(desk))
    app.register_blueprint(dashboard_routes.routes(parts, database, desk))
    app.register_blueprint(channel_routes.routes(parts, database, Waker(publish_check)))
    app.register_blueprint(reconnect_routes.routes(parts, Waker(publish_check), LatestCodes()))
    app.register_blueprint(health_routes.routes(parts))
    app.register_blueprint(webhook_routes.routes(parts, Waker(publish_hearing, pause_s=HEARING_PAUSE_S), rates))
    app.register_blueprint(docs_routes.routes())
    app.register_blueprint(front_routes.routes())
    openapi.register(app)
    app.after_request(_add_headers)
    return app


def _add_headers(response: Response) -> Response:
    for name, value in _HEADERS.items():
        response.headers.setdefault(name, value)
    return response
