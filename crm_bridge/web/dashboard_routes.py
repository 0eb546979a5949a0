"""The dashboard: whether messages flow, why one does not, and what to do, as pages for people without a terminal.

Pages are made here from what the API answers, without scripts. A browser asks for the key by itself (HTTP Basic: any
user name, the key as password), and nothing here changes anything.
"""

import base64
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from apiflask import APIBlueprint
from flask import Response, redirect, request, url_for
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from pydantic import Field
from werkzeug.wrappers import Response as AnyResponse

from crm_bridge.web import dashboard_words, message_work
from crm_bridge.web.bounded import Bounded
from crm_bridge.web.described import describe
from crm_bridge.web.diagnosis_desk import DiagnosisDesk
from crm_bridge.web.listing import ListQuery, list_messages
from crm_bridge.web.message_id import as_uuid, is_message_id
from crm_bridge.web.problem_body import CONTENT_TYPE as PROBLEM
from crm_bridge.web.query import read_query
from worker.domain.message_request import Label
from worker.parts import Parts

PREFIX = "/dashboard"
#: The overview asks anew so often, in seconds; whoever looks for something is left in peace.
REFRESH_S = 10
#: Messages on a page.
LISTED = 25

_TEMPLATES = Environment(
    loader=FileSystemLoader(Path(__file__).parent / "pages"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
)
_TEMPLATES.filters |= dashboard_words.FILTERS
_STYLE = _TEMPLATES.get_template("style.css").render()
_STYLE_HASH = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
_POLICY = (
    f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; img-src data:; base-uri 'none'; form-action 'self'; "
    "frame-ancestors 'none'"
)


class OverviewQuery(ListQuery):
    limit: Annotated[int, Field(ge=1, le=LISTED)] = LISTED
    #: A number, or a reference of the CRM. A form that is sent empty sends an empty one.
    find: Label | Literal[""] = ""


def routes(parts: Parts, database: Bounded, desk: DiagnosisDesk) -> APIBlueprint:
    blueprint = APIBlueprint("dashboard", __name__, url_prefix=PREFIX, enable_openapi=False)
    pages = _Pages(parts)

    @blueprint.get("")
    @describe(gives={})
    def overview() -> AnyResponse:
        query = read_query(OverviewQuery)
        wanted = query.find.strip()
        if is_message_id(wanted):
            return redirect(url_for("dashboard.message", message_id=wanted))
        status = desk.status()
        found = database.run(lambda: _listed(parts, query, wanted))
        return pages.overview(status, found, query, wanted)

    @blueprint.get("/messages/<message:message_id>")
    @describe(gives={})
    def message(message_id: str) -> AnyResponse:
        asked_for = as_uuid(message_id)
        return pages.message(database.run(lambda: message_work.explain_one(parts, asked_for)))

    @blueprint.after_request
    def for_people(response: Response) -> Response:
        return pages.problem(response) if response.content_type == PROBLEM else response

    return blueprint


def _listed(parts: Parts, query: OverviewQuery, wanted: str) -> dict[str, Any]:
    """What was asked for; a text that is to be found is a number first, then a reference of the CRM."""
    if not wanted:
        return list_messages(parts, query)
    by_number = list_messages(parts, query.model_copy(update={"to": wanted}))
    return by_number if by_number["messages"] else list_messages(parts, query.model_copy(update={"crm_ref": wanted}))


def _address_of(asked: Mapping[str, str]) -> str:
    return url_for("dashboard.overview", **dict[str, Any](asked))


class _Pages:
    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    def overview(self, status: dict[str, Any], found: dict[str, Any], query: OverviewQuery, wanted: str) -> Response:
        filtered = request.args.to_dict()
        older = _address_of(filtered | {"cursor": found["next"]}) if found["next"] else None
        return self._page(
            "overview.html",
            refresh_s=None if filtered else REFRESH_S,
            find=wanted,
            status=status,
            verdict=dashboard_words.verdict(status),
            heading=dashboard_words.heading(query, wanted),
            nothing="There is none." if filtered else "Nothing has been sent yet.",
            shown=[(words, _address_of(given)) for words, given in dashboard_words.LISTS],
            messages=found["messages"],
            older=older,
        )

    def message(self, why: dict[str, Any]) -> Response:
        message = why["message"]
        return self._page(
            "message.html",
            find=message["recipient"] or message["to"],
            why=why,
            message=message,
            channel=why["channel"],
            times=dashboard_words.times(message),
        )

    def problem(self, refused: Response) -> Response:
        page = self._page("problem.html", problem=refused.get_json())
        page.status_code = refused.status_code
        for name in ("WWW-Authenticate", "Retry-After", "Allow"):
            if name in refused.headers:
                page.headers[name] = refused.headers[name]
        return page

    def _page(self, name: str, **values: Any) -> Response:
        shown = {"refresh_s": None, "find": None, "now": self._parts.clock(), "url_for": url_for} | values
        body = _TEMPLATES.get_template(name).render(shown)
        return Response(body, content_type="text/html; charset=utf-8", headers={"Content-Security-Policy": _POLICY})
