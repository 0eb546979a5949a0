"""Who may use the API: bearers of a key that opens what the route needs. Without any key nobody may."""

from typing import NoReturn

from apiflask import APIFlask
from flask import request

from crm_bridge.web.described import description_of
from crm_bridge.web.known_keys import Bearer, KnownKeys
from crm_bridge.web.problems import Problem
from crm_bridge.web.rates import Rates, address_of
from worker.domain.access import Scope, written

#: What people look at: a browser asks for the key by itself, and shows it as the password of HTTP Basic.
PAGES = "/dashboard"
#: Everything below is closed; what else there is tells nothing and takes nothing.
CLOSED = ("/api/", "/metrics", PAGES)
#: What is open and not counted: webhooks, which come by the hundred and prove themselves, and signs of life.
UNCOUNTED = ("/webhooks/", "/healthz", "/readyz")
_PAGE_CHALLENGE = 'Basic realm="Truetick: any name, and an API key as the password", charset="UTF-8"'
_CHALLENGE = 'Bearer realm="truetick"'
_ON_PAGES = (
    "Give any user name, and as the password an API key with the scope read. "
    "Make one: truetick tokens add NAME --scope read"
)
_SENTENCES = {
    "wrong_api_key": "This key is not one of those in TRUETICK_API_KEYS, nor one made by `truetick tokens add`.",
    "expired_api_key": "This key has expired. Make a new one: truetick tokens rotate NAME --expires-in 90d",
    "revoked_api_key": "This key was revoked. Make a new one: truetick tokens add NAME",
}


def register(app: APIFlask, keys: KnownKeys, rates: Rates) -> None:
    @app.before_request
    def require_key() -> None:
        if not request.path.startswith(CLOSED):
            if not request.path.startswith(UNCOUNTED):
                rates.count(address_of(request.remote_addr))
            return
        bearer = _bearer(keys, rates)
        rates.count(bearer.name)
        said = description_of(app.view_functions.get(request.endpoint or ""))
        if said is not None and said.scope is not None and said.scope not in bearer.scopes:
            _lacks(bearer, said.scope)


def _shown_key() -> str:
    shown = request.authorization
    if shown is not None and shown.type == "basic" and _is_page():
        return shown.password or ""
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


def _is_page() -> bool:
    return request.path.startswith(PAGES)


def _bearer(keys: KnownKeys, rates: Rates) -> Bearer:
    """Whoever makes this request. Failed attempts are counted by address, and cost a query only up to the limit."""
    key = _shown_key()
    bearer = keys.of_environment(key) if key else None
    if bearer is not None:
        return bearer
    address = address_of(request.remote_addr)
    if not key or not keys.is_remembered(key):
        rates.require_room(address)
    bearer, wrong = keys.made(key) if key else (None, "no_api_key")
    if bearer is None:
        rates.count(address)
        _refuse(wrong, keys)
    return bearer


def _refuse(code: str, keys: KnownKeys) -> NoReturn:
    if not keys.any_there():
        raise Problem(
            503,
            "no_api_key_configured",
            "The API is closed because there is no key. Make one with `truetick tokens add NAME --scope send`, or "
            "set TRUETICK_API_KEYS to long random texts, separated by commas, and restart the web server.",
        )
    if _is_page():
        raise Problem(401, code, _SENTENCES.get(code, _ON_PAGES), WWW_Authenticate=_PAGE_CHALLENGE)
    if code == "no_api_key":
        raise Problem(401, code, "Send the header `Authorization: Bearer KEY`.", WWW_Authenticate=_CHALLENGE)
    raise Problem(401, code, _SENTENCES[code], WWW_Authenticate=f'{_CHALLENGE}, error="invalid_token"')


def _lacks(bearer: Bearer, scope: Scope) -> NoReturn:
    if _is_page():  # asked for again: a browser would show the same key for ever
        raise Problem(401, "wrong_api_key", _ON_PAGES, WWW_Authenticate=_PAGE_CHALLENGE)
    raise Problem(
        403,
        "missing_scope",
        f"This needs a key with the scope {scope}; the one shown opens: {written(bearer.scopes)}. "
        f"Make one: truetick tokens add NAME --scope {scope}",
        WWW_Authenticate=f'{_CHALLENGE}, error="insufficient_scope", scope="{scope}"',
    )
