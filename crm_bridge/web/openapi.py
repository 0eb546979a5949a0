"""The API's description at /openapi.json, made from the models that requests and answers are held against."""

import re
from collections.abc import Sequence
from http import HTTPStatus
from typing import Any

from apiflask import APIFlask
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from crm_bridge.web.answers import Problem
from crm_bridge.web.described import Description, describe, description_of
from crm_bridge.web.refusals import REFUSALS

__all__ = ["TITLE", "VERSION", "describe", "description_of", "register"]

TITLE = "Truetick"
VERSION = "1"
_SCHEME = "apiKey"
_WEBHOOK_SCHEME = "webhookSecret"
_REF = "#/components/schemas/{model}"
_METHODS = {"GET", "POST"}
_ABOUT = (
    "An outbound WhatsApp queue for a CRM: a message is called sent only when WhatsApp has ticked it.\n\n"
    "Every closed route needs the header `Authorization: Bearer KEY`. A key opens what its scopes say: "
    "`send` (hand over messages), `read` (look at messages, channels and changes), `operate` (withdraw and resend "
    "messages, pause and resume channels). Keys are made with `truetick tokens add`; those in TRUETICK_API_KEYS open "
    "everything.\n\n"
    "Every error is application/problem+json (RFC 9457) with a stable `code`. A request that had no answer may be "
    "repeated with the same `message_id` or idempotency key: nothing is sent twice."
)

#: A part of a path, with or without the name of its converter.
_PART = re.compile(r"<(?:\w+:)?(\w+)>")
#: What may stand in a path, by the name of its part.
_PATH_PARTS = {
    "message_id": {"schema": {"type": "string", "format": "uuid"}, "description": "The message's id."},
    "channel": {
        "schema": {"type": "string", "pattern": "^[a-z0-9][a-z0-9_-]{0,63}$"},
        "description": "The channel's name.",
    },
}
_PATH_PARTS["name"] = _PATH_PARTS["channel"]


def register(app: APIFlask) -> None:
    app.config["OPENAPI_VERSION"] = "3.1.0"
    app.config["AUTO_OPERATION_ID"] = True
    # The description is made once; the first asker's Host header must not stand in it.
    app.config["AUTO_SERVERS"] = False
    app.config["AUTO_404_RESPONSE"] = app.config["AUTO_VALIDATION_ERROR_RESPONSE"] = False
    app.config["SECURITY_SCHEMES"] = {
        _SCHEME: {"type": "http", "scheme": "bearer", "description": "An API key; its scopes say what it opens."},
        _WEBHOOK_SCHEME: {
            "type": "apiKey",
            "in": "header",
            "name": "X-Webhook-Signature",
            "description": "The channel's webhook secret, as WaSender shows it.",
        },
    }
    app.description = _ABOUT

    @app.spec_processor
    def complete(spec: dict[Any, Any] | str) -> dict[Any, Any] | str:
        assert isinstance(spec, dict)
        models: set[type[BaseModel]] = {Problem}
        for rule in app.url_map.iter_rules():
            said = description_of(app.view_functions[rule.endpoint])
            path = _PART.sub(r"{\1}", rule.rule)
            if said is None or path not in spec["paths"]:  # pages are for people
                continue
            models |= {*said.gives.values(), *([said.takes] if said.takes else [])}
            for method in (rule.methods or set()) & _METHODS:
                _complete(spec["paths"][path][method.lower()], said, sorted(rule.arguments))
        _, definitions = models_json_schema(
            [(model, "validation") for model in sorted(models, key=lambda model: model.__name__)], ref_template=_REF
        )
        spec.setdefault("components", {}).setdefault("schemas", {}).update(definitions["$defs"])
        return spec


def _complete(operation: dict[str, Any], said: Description, parts: Sequence[str]) -> None:
    operation["responses"] = {
        **{str(status): _answer(status, model, said.answers) for status, model in said.gives.items()},
        **({"200": _text(said.gives_text)} if said.gives_text is not None else {}),
        **{str(status): _problem(status) for status in said.statuses},
    }
    operation["parameters"] = [
        *({"name": name, "in": "path", "required": True, **_PATH_PARTS[name]} for name in parts),
        *_query_parameters(said.query),
        *({"name": name, "in": "header", "required": False, **about} for name, about in said.headers.items()),
    ]
    if said.takes:
        body = _schema(said.takes) | ({"example": said.example} if said.example is not None else {})
        operation["requestBody"] = {"required": True, "content": {"application/json": body}}
    if said.takes_files:
        files = {mime_type: {"schema": {"type": "string", "format": "binary"}} for mime_type in said.takes_files}
        operation["requestBody"] = {"required": True, "content": files}
    if said.scope:
        operation["security"] = [{_SCHEME: [said.scope.value]}]
        operation["description"] = f"{operation.get('description', '')}\n\nNeeds the scope `{said.scope}`.".strip()
    elif said.webhook_secret:
        operation["security"] = [{_WEBHOOK_SCHEME: []}]


def _query_parameters(model: type[BaseModel] | None) -> list[dict[str, Any]]:
    if model is None:
        return []
    described = model.model_json_schema()
    return [
        {"name": name, "in": "query", "required": name in described.get("required", ()), **_parameter(about)}
        for name, about in described["properties"].items()
    ]


def _parameter(about: dict[str, Any]) -> dict[str, Any]:
    schema = _never_null({key: value for key, value in about.items() if key != "title"})
    return {"description": schema.pop("description", ""), "schema": schema}


def _never_null(schema: dict[str, Any]) -> dict[str, Any]:
    """A parameter is there or it is not; it cannot be null."""
    choices = [choice for choice in schema.pop("anyOf", ()) if choice.get("type") != "null"]
    if schema.get("default", ...) is None:
        del schema["default"]
    return schema | (choices[0] if len(choices) == 1 else {"anyOf": choices} if choices else {})


def _answer(status: int, model: type[BaseModel], example: Any) -> dict[str, Any]:
    body = _schema(model) | ({"example": example} if example is not None else {})
    return {"description": HTTPStatus(status).phrase, "content": {"application/json": body}}


def _text(example: str) -> dict[str, Any]:
    body = {"schema": {"type": "string"}, "example": example}
    return {"description": HTTPStatus.OK.phrase, "content": {"text/plain": body}}


def _problem(status: int) -> dict[str, Any]:
    refusal = REFUSALS[status]
    narrowed = {
        "allOf": [
            {"$ref": _REF.format(model=Problem.__name__)},
            {"properties": {"status": {"const": status}, "code": {"enum": sorted(refusal.codes)}}},
        ]
    }
    example = {
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": refusal.because,
        "code": sorted(refusal.codes)[0],
    }
    content = {"application/problem+json": {"schema": narrowed, "example": example}}
    codes = ", ".join(f"`{code}`" for code in sorted(refusal.codes))
    return {"description": f"{refusal.because} Codes: {codes}.", "content": content}


def _schema(model: type[BaseModel]) -> dict[str, Any]:
    return {"schema": {"$ref": _REF.format(model=model.__name__)}}
