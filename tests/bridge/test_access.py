"""Who may use the API, what everybody may ask, and what the headers give away."""

from collections.abc import Callable

import pytest
from flask.testing import FlaskClient

from crm_bridge.web import create_app
from tests.bridge.conftest import AUTHORIZED, KEY, OTHER_KEY
from worker.parts import Parts


@pytest.mark.parametrize("key", [KEY, OTHER_KEY])
def test_each_configured_key_opens_the_api(sqlite_client: FlaskClient, key: str) -> None:
    answer = sqlite_client.get("/api/whatsapp/status", headers={"Authorization": f"bearer {key}"})

    assert answer.status_code == 200


@pytest.mark.parametrize(
    ("given", "code"),
    [
        (None, "no_api_key"),
        ("", "no_api_key"),
        ("Bearer", "no_api_key"),
        ("Bearer   ", "no_api_key"),
        (f"Basic {KEY}", "no_api_key"),
        (KEY, "no_api_key"),
        (f"Bearer {KEY}x", "wrong_api_key"),
        (f"Bearer {KEY[:-1]}", "wrong_api_key"),
        (f"Bearer {KEY},{OTHER_KEY}", "wrong_api_key"),
        ("Bearer \xe9\xff", "wrong_api_key"),
    ],
)
@pytest.mark.parametrize("path", ["/api/whatsapp/status", "/api/nothing/here"])
def test_without_a_right_key_the_api_stays_closed(
    sqlite_client: FlaskClient, given: str | None, code: str, path: str
) -> None:
    answer = sqlite_client.get(path, headers={} if given is None else {"Authorization": given})

    assert (answer.status_code, answer.json["code"]) == (401, code)
    assert answer.headers["WWW-Authenticate"].startswith("Bearer")


def test_with_no_key_configured_the_api_is_closed_and_says_what_to_set(
    sqlite_url: str, build: Callable[..., Parts]
) -> None:
    client = create_app(build(sqlite_url)).test_client()

    answer = client.get("/api/whatsapp/status", headers=AUTHORIZED)

    assert (answer.status_code, answer.json["code"]) == (503, "no_api_key_configured")
    assert "TRUETICK_API_KEYS" in answer.json["detail"]
    assert client.get("/healthz").status_code == 200


@pytest.mark.parametrize("path", ["/healthz", "/api/whatsapp/status", "/nothing"])
def test_every_answer_carries_the_security_headers_and_opens_nothing_to_other_sites(
    sqlite_client: FlaskClient, path: str
) -> None:
    answer = sqlite_client.get(path, headers={"Origin": "https://example.com"})

    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Cache-Control"] == "no-store"
    assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
    assert not [name for name, _ in answer.headers if name.lower().startswith("access-control")]
