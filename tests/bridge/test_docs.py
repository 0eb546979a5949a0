"""The description of the API, complete and true, and the page that shows it without any other site."""

import json
import re
from typing import Any

import pytest
from flask.testing import FlaskClient
from pydantic import ValidationError

from crm_bridge.web import answers, composed_answers, examples
from crm_bridge.web.refusals import NUMBER_CODES, REFUSALS
from tests.bridge.conftest import AUTHORIZED
from tests.live_stack import ROOT
from worker.domain.access import Scope
from worker.domain.message_request import parse_request

WITHOUT_KEY = {"/healthz", "/readyz"}


@pytest.fixture
def described(sqlite_client: FlaskClient) -> dict[str, Any]:
    told: dict[str, Any] = sqlite_client.get("/openapi.json", headers={"Host": "attacker.example"}).json
    return told


def operations(described: dict[str, Any]) -> list[tuple[str, str, dict[str, Any]]]:
    return [
        (method.upper(), path, operation)
        for path, methods in described["paths"].items()
        for method, operation in methods.items()
    ]


def test_every_route_is_described_and_no_other_site_is_named(described: dict[str, Any]) -> None:
    assert {(method, path) for method, path, _ in operations(described)} >= {
        ("POST", "/api/messages"),
        ("POST", "/api/messages/bulk"),
        ("GET", "/api/messages"),
        ("GET", "/api/messages/changes"),
        ("GET", "/api/messages/{message_id}"),
        ("GET", "/api/messages/{message_id}/why"),
        ("POST", "/api/messages/{message_id}/cancel"),
        ("POST", "/api/messages/{message_id}/resend"),
        ("GET", "/api/channels"),
        ("POST", "/api/channels/{name}/pause"),
        ("POST", "/api/channels/{name}/resume"),
        ("POST", "/api/channels/{name}/reconnect"),
        ("GET", "/api/whatsapp/status"),
        ("POST", "/api/whatsapp/test-message"),
        ("GET", "/api/whatsapp/diagnostics"),
        ("GET", "/api/whatsapp/troubleshoot"),
        ("POST", "/api/media"),
        ("POST", "/webhooks/wasender/{channel}"),
        ("GET", "/metrics"),
        ("GET", "/healthz"),
        ("GET", "/readyz"),
    }
    written = json.dumps(described)
    assert "attacker" not in written
    assert set(re.findall(r"#/components/schemas/(\w+)", written)) <= set(described["components"]["schemas"])


def test_no_route_that_a_program_calls_is_left_out(sqlite_client: FlaskClient, described: dict[str, Any]) -> None:
    there = {
        (method, re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule.rule))
        for rule in sqlite_client.application.url_map.iter_rules()
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
        if rule.rule.startswith(("/api/", "/webhooks/", "/metrics"))
    }
    assert there <= {(method, path) for method, path, _ in operations(described)}
    for path in ("/", "/docs", "/openapi.json"):
        assert sqlite_client.get(path).status_code == 200


def test_each_operation_says_its_scope_its_parameters_and_what_it_refuses_with(described: dict[str, Any]) -> None:
    for method, path, operation in operations(described):
        where = f"{method} {path}"
        assert operation["summary"], where
        in_path = {parameter["name"] for parameter in operation["parameters"] if parameter["in"] == "path"}
        assert in_path == set(re.findall(r"{(\w+)}", path)), where
        assert all(parameter["description"] and parameter["schema"] for parameter in operation["parameters"]), where
        assert {"414", "429", "431"} <= set(operation["responses"]), where
        if path.startswith(("/api/", "/metrics")):
            ((scheme, scopes),) = operation["security"][0].items()
            assert (scheme, len(scopes)) == ("apiKey", 1), where
            assert Scope(scopes[0]) in operation["description"], where
            assert {"401", "403", "500", "503"} <= set(operation["responses"]), where
        elif path not in WITHOUT_KEY:
            assert operation["security"] == [{"webhookSecret": []}], where
        if "requestBody" in operation:
            content = operation["requestBody"]["content"]
            assert "application/json" not in content or content["application/json"]["example"], where


def test_every_refusal_lists_its_codes_and_an_example_of_it_is_one(described: dict[str, Any]) -> None:
    for method, path, operation in operations(described):
        for status, response in operation["responses"].items():
            if int(status) >= 400:
                content = response["content"]["application/problem+json"]
                narrowed = content["schema"]["allOf"][1]["properties"]
                assert set(narrowed["code"]["enum"]) == set(REFUSALS[int(status)].codes), (method, path)
                assert answers.Problem.model_validate(content["example"]).status == int(status)
                assert all(code in response["description"] for code in narrowed["code"]["enum"])


def source_of(*names: str) -> str:
    return "".join((ROOT / name).read_text() for name in names)


def test_the_codes_of_wrong_numbers_are_those_that_numbers_can_be_wrong_by() -> None:
    sources = source_of("worker/domain/phone.py", "worker/domain/numbering.py")

    assert set(re.findall(r'code="(\w+)"', sources)) <= set(NUMBER_CODES)


def test_every_code_that_a_request_can_be_refused_with_is_in_the_description() -> None:
    known = {code for refusal in REFUSALS.values() for code in refusal.codes}
    enqueueing = source_of(
        *("worker/domain/message_request.py", "worker/domain/template.py", "worker/domain/media.py"),
        *("worker/intake.py", "worker/outbox/enqueue.py", "worker/outbox/quotes.py", "worker/outbox/media.py"),
        *("worker/outbox/people.py", "worker/outbox/contents.py"),
    )
    told_by_routes = [
        (int(status), code)
        for path in (ROOT / "crm_bridge" / "web").glob("*.py")
        for status, code in re.findall(r'Problem\(\s*(\d{3}),\s*"(\w+)"', path.read_text())
    ]

    assert set(re.findall(r'code="(\w+)"', enqueueing)) - {"dropped_by_person"} <= known
    assert len(told_by_routes) > 20
    assert [one for one in told_by_routes if one[1] not in REFUSALS[one[0]].codes] == []


def test_the_examples_are_true(sqlite_client: FlaskClient) -> None:
    answers.Message.model_validate(examples.MESSAGE)
    composed_answers.MessageList.model_validate(examples.LIST)
    composed_answers.MessageChanges.model_validate(examples.CHANGES)
    composed_answers.RefusedItem.model_validate(examples.REFUSED_ITEM)
    parse_request(examples.REQUEST)

    answer = sqlite_client.post("/api/messages", json=examples.REQUEST, headers=AUTHORIZED)

    assert answer.status_code == 202
    assert set(answer.json) == set(examples.MESSAGE)


def test_the_shapes_are_strict_enough_to_notice_a_field_that_nobody_described() -> None:
    with pytest.raises(ValidationError):
        answers.Message.model_validate(examples.MESSAGE | {"secret": 1})


def test_the_page_shows_the_description_from_files_of_this_server_alone(sqlite_client: FlaskClient) -> None:
    page = sqlite_client.get("/docs")

    assert page.status_code == 200
    assert page.content_type.startswith("text/html")
    policy = page.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert not re.search(r"https?:", policy + page.text)
    assert not re.search(r"<script>|<style|style=|\son\w+=", page.text), "the policy would forbid it"
    for asset in re.findall(r'(?:src|href)="([^"]+)"', page.text):
        found = sqlite_client.get(asset)
        assert found.status_code == 200, asset
        assert found.headers["X-Content-Type-Options"] == "nosniff"
        kind = found.content_type.partition(";")[0]
        assert kind in {"text/javascript", "text/css", "image/png", "application/json"}, asset
    assert '"/openapi.json"' in sqlite_client.get("/docs/start.js").text


def test_the_front_names_addresses_that_there_are_and_needs_no_key(sqlite_client: FlaskClient) -> None:
    front = sqlite_client.get("/")

    assert front.status_code == 200
    places = dict(front.json)
    assert places.pop("name") == "Truetick"
    assert {"/docs", "/healthz", "/api/messages"} <= set(places.values())
    there = sqlite_client.application.url_map.bind("localhost")
    assert all(there.match(place) for place in places.values())


@pytest.mark.parametrize("name", ["index.html", "..%2f__init__.py", "../flask_swagger_ui.py", "LICENSE", ".."])
def test_nothing_else_of_the_package_is_served(sqlite_client: FlaskClient, name: str) -> None:
    assert sqlite_client.get(f"/docs/assets/{name}").status_code == 404
