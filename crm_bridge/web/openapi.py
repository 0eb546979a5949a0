"""The API's description at /openapi.json, made from the models that requests and answers are held against."""

from collections.abc import Callable, Mapping, Sequence
from http import HTTPStatus
from typing import Any, TypeVar

from apiflask import APIFlask
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from crm_bridge.web.answers import Problem

TITLE = "Truetick"
VERSION = "1"
_SCHEME = "apiKey"
_REF = "#/components/schemas/{model}"
_REFUSED_BECAUSE = {
    400: "The body is not JSON, or not a plain object.",
    401: "The API key (of a webhook: the webhook secret) is missing or wrong.",
    404: "There is no such message.",
    409: "The id or idempotency key was used before, for something else.",
    413: "The body is larger than 256 kB.",
    415: "The body is not sent as application/json.",
    422: "The request or the number cannot be used; `code` says which kind of wrong.",
    503: "The database does not answer, or no API key (or webhook secret) is configured. Try again after Retry-After "
    "seconds.",
}

View = TypeVar("View", bound=Callable[..., Any])


def describe(
    *,
    gives: Mapping[int, type[BaseModel]],
    refuses: Sequence[int] = (),
    takes: type[BaseModel] | None = None,
    closed: bool = True,
) -> Callable[[View], View]:
    """Say what a route takes, gives and refuses. Its docstring is its description."""

    def note(view: View) -> View:
        view._truetick = {"gives": gives, "refuses": refuses, "takes": takes, "closed": closed}  # type: ignore[attr-defined]
        return view

    return note


def register(app: APIFlask) -> None:
    app.config["OPENAPI_VERSION"] = "3.1.0"
    app.config["AUTO_OPERATION_ID"] = True
    # The description is made once; the first asker's Host header must not stand in it.
    app.config["AUTO_SERVERS"] = False
    app.config["AUTO_404_RESPONSE"] = app.config["AUTO_VALIDATION_ERROR_RESPONSE"] = False
    app.config["SECURITY_SCHEMES"] = {_SCHEME: {"type": "http", "scheme": "bearer"}}
    app.description = (
        "An outbound WhatsApp queue for a CRM: a message is called sent only when WhatsApp has ticked it. "
        "Every error is application/problem+json (RFC 9457) with a stable `code`."
    )

    @app.spec_processor
    def complete(spec: dict[Any, Any] | str) -> dict[Any, Any] | str:
        assert isinstance(spec, dict)
        models: set[type[BaseModel]] = {Problem}
        for rule in app.url_map.iter_rules():
            noted = getattr(app.view_functions[rule.endpoint], "_truetick", None)
            if noted is None:
                continue
            path = rule.rule.replace("<", "{").replace(">", "}")
            models |= {*noted["gives"].values(), *([noted["takes"]] if noted["takes"] else [])}
            for method in (rule.methods or set()) & {"GET", "POST"}:
                _complete(spec["paths"][path][method.lower()], noted)
        _, definitions = models_json_schema(
            [(model, "validation") for model in sorted(models, key=lambda model: model.__name__)], ref_template=_REF
        )
        spec.setdefault("components", {}).setdefault("schemas", {}).update(definitions["$defs"])
        return spec


def _complete(operation: dict[str, Any], noted: Mapping[str, Any]) -> None:
    operation["responses"] = {
        **{str(status): _answer(HTTPStatus(status).phrase, model) for status, model in noted["gives"].items()},
        **{str(status): _problem(_REFUSED_BECAUSE[status]) for status in noted["refuses"]},
    }
    if noted["takes"]:
        operation["requestBody"] = {"required": True, "content": {"application/json": _schema(noted["takes"])}}
    if noted["closed"]:
        operation["security"] = [{_SCHEME: []}]


def _answer(description: str, model: type[BaseModel]) -> dict[str, Any]:
    return {"description": description, "content": {"application/json": _schema(model)}}


def _problem(description: str) -> dict[str, Any]:
    return {"description": description, "content": {"application/problem+json": _schema(Problem)}}


def _schema(model: type[BaseModel]) -> dict[str, Any]:
    return {"schema": {"$ref": _REF.format(model=model.__name__)}}
