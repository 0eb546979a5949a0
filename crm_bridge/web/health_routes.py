"""`/healthz` (is this process alive?) and `/readyz` (can it do its work?), open to whoever watches over it."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass

from apiflask import APIBlueprint
from flask import Response, jsonify
from sqlalchemy.exc import DBAPIError

from crm_bridge.web import answers, openapi
from crm_bridge.web.bounded import Bounded, TookTooLong
from crm_bridge.web.problems import RETRY_AFTER_S, problem_response
from worker.celery_app import app as celery
from worker.database import snapshot
from worker.parts import Parts
from worker.readiness import NO_TABLES, lacks_tables, schema_problem

#: A check that has no answer after this is answered with no. Both run at once, so this bounds the whole.
CHECK_S = 1.8


@dataclass(frozen=True)
class Check:
    name: str
    ok: bool
    detail: str


def routes(parts: Parts) -> APIBlueprint:
    blueprint = APIBlueprint("health", __name__)
    asked = {
        "database": (lambda: _ask_database(parts), Bounded(most=1, wait_s=CHECK_S, turn_wait_s=CHECK_S)),
        "broker": (_ask_broker, Bounded(most=1, wait_s=CHECK_S, turn_wait_s=CHECK_S)),
    }

    @blueprint.get("/healthz")
    @openapi.describe(gives={200: answers.Alive}, scope=None)
    def healthz() -> Response:
        """Is the process alive? Says nothing about the database or the broker."""
        return jsonify({"status": "alive"})

    @blueprint.get("/readyz")
    @openapi.describe(gives={200: answers.Ready}, refuses=(503,), scope=None)
    def readyz() -> Response:
        """Are the database (at this program's revision) and the broker there? Answers within two seconds."""
        with ThreadPoolExecutor(len(asked)) as both:
            checks = list(both.map(lambda item: _check(item[0], *item[1]), asked.items()))
        told = [asdict(check) for check in checks]
        if all(check.ok for check in checks):
            return jsonify({"status": "ready", "checks": told})
        detail = " ".join(f"{check.name}: {check.detail}" for check in checks if not check.ok)
        response = problem_response(503, "not_ready", detail, checks=told)
        response.headers["Retry-After"] = str(RETRY_AFTER_S)
        return response

    return blueprint


def _check(name: str, ask: Callable[[], str | None], bounded: Bounded) -> Check:
    try:
        problem = bounded.run(ask)
    except TookTooLong:
        problem = f"It did not answer within {CHECK_S:g} s."
    except Exception as error:
        # The text of the error may hold an address with a password; its kind does not.
        problem = f"It cannot be reached ({type(error).__name__})."
    return Check(name, problem is None, problem or "ok")


def _ask_database(parts: Parts) -> str | None:
    try:
        with snapshot(parts.engine) as connection:
            return schema_problem(connection)
    except DBAPIError as error:
        if lacks_tables(error):
            return NO_TABLES
        raise


def _ask_broker() -> str | None:
    with celery.connection_for_write() as connection:
        connection.ensure_connection(max_retries=1, interval_start=0, interval_step=0)
        connection.default_channel.client.ping() if connection.transport.driver_type == "redis" else None
    return None
