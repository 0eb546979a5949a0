"""Every error of the HTTP API, in one form: application/problem+json (RFC 9457) with a stable `code` beside it."""

import secrets
import traceback

import structlog
from apiflask import APIFlask
from flask import Blueprint, Response, request
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as NoFreeConnection
from werkzeug.exceptions import HTTPException
from werkzeug.routing import RoutingException

from crm_bridge.web.bounded import TookTooLong
from crm_bridge.web.problem_body import CONTENT_TYPE, problem_body
from worker.database import DatabaseAway, was_broken_off
from worker.domain.errors import Conflict, GatewayTrouble, InvalidNumber, InvalidRequest, NotFound, TruetickError
from worker.readiness import lacks_tables

log = structlog.get_logger(__name__)

RETRY_AFTER_S = 5
#: How many frames of an unexpected error are logged; its text is not, for it may hold numbers and texts.
FRAMES_LOGGED = 6

_STATUS_OF_ERROR: dict[type[TruetickError], int] = {
    InvalidNumber: 422,
    InvalidRequest: 422,
    NotFound: 404,
    Conflict: 409,
    GatewayTrouble: 502,
}
#: What the framework refuses by itself: code and sentence.
_REFUSALS = {
    404: ("unknown_route", "There is nothing at this address. GET /openapi.json lists what there is."),
    405: ("method_not_allowed", "This address does not take this method; the Allow header names those it takes."),
}


class Problem(Exception):
    """An answer that is an error. `detail` tells a person what happened and what to do."""

    def __init__(self, status: int, code: str, detail: str, **headers: str) -> None:
        super().__init__(code)
        self.status = status
        self.code = code
        self.detail = detail
        self.headers = headers


def problem_response(status: int, code: str, detail: str, **more: object) -> Response:
    return Response(problem_body(status, code, detail, **more), status, content_type=CONTENT_TYPE)


def register(app: APIFlask | Blueprint) -> None:
    app.register_error_handler(Problem, _told)
    app.register_error_handler(TruetickError, _refused)
    app.register_error_handler(HTTPException, _framework_refused)
    app.register_error_handler(DBAPIError, _database_failed)
    app.register_error_handler(NoFreeConnection, _database_away)
    app.register_error_handler(TookTooLong, _database_away)
    app.register_error_handler(Exception, _broke)


def _told(problem: Problem) -> Response:
    response = problem_response(problem.status, problem.code, problem.detail)
    response.headers.update({name.replace("_", "-"): value for name, value in problem.headers.items()})
    return response


def _refused(error: TruetickError) -> Response:
    status = next((status for kind, status in _STATUS_OF_ERROR.items() if isinstance(error, kind)), None)
    return _broke(error) if status is None else problem_response(status, error.code, error.message)


def _framework_refused(error: HTTPException) -> Response | HTTPException:
    if isinstance(error, RoutingException) or error.code is None:
        return error
    code, detail = _REFUSALS.get(error.code, ("bad_request", "The request cannot be understood."))
    if error.code == 413:
        code, detail = "too_large", f"The body is larger than {(request.max_content_length or 0) // 1024} kB."
    response = problem_response(error.code, code, detail)
    allowed = error.get_response().headers.get("Allow")
    if allowed:
        response.headers["Allow"] = allowed
    return response


def _database_failed(error: DBAPIError) -> Response:
    if lacks_tables(error):
        log.error("database_not_migrated", advice="run `truetick db upgrade`")
        return _unavailable("database_not_migrated", "The database has not been migrated; run `truetick db upgrade`.")
    if was_broken_off(error):
        log.warning("deadlock", route=_route())
        return _unavailable("deadlock", "Others were at the same data, so nothing was stored. Repeat the request.")
    return _database_away(error) if isinstance(error, DatabaseAway) else _broke(error)


def _database_away(error: Exception) -> Response:
    log.warning("database_away", problem=type(error).__name__, route=_route())
    return _unavailable(
        "database_away",
        "The database does not answer, so it is not known whether anything was stored. "
        "Repeat the request later; with the same message_id or idempotency_key nothing is sent twice.",
    )


def _unavailable(code: str, detail: str) -> Response:
    response = problem_response(503, code, detail)
    response.headers["Retry-After"] = str(RETRY_AFTER_S)
    return response


def note_broken(error: Exception) -> str:
    """Log what nobody thought of. Returns the id under which the log tells more."""
    error_id = secrets.token_hex(6)
    frames = traceback.extract_tb(error.__traceback__)[-FRAMES_LOGGED:]
    where = [f"{frame.filename.rsplit('/', 1)[-1]}:{frame.lineno} {frame.name}" for frame in frames]
    log.error("request_broke", error_id=error_id, problem=type(error).__name__, route=_route(), where=where)
    return error_id


def _broke(error: Exception) -> Response:
    error_id = note_broken(error)
    return problem_response(
        500,
        "internal_error",
        f"Something broke on this side; the log tells more under error_id={error_id}. Nothing is sent twice if the "
        "request is repeated with the same message_id or idempotency_key.",
        error_id=error_id,
    )


def _route() -> str:
    """The route's pattern; never the address itself, which may hold what a caller put there."""
    return f"{request.method} {request.url_rule}"
