"""The dashboard: pages for people, that tell what the API tells, to whoever shows a key as a password."""

import base64
import html
import re
from collections.abc import Callable
from typing import Any

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from tests.bridge.conftest import AUTHORIZED, KEY
from tests.conftest import API_KEY
from tests.drain.scene import Crm, drain
from wasender_sandbox.control import Sandbox
from worker import access_tokens, evidence, health
from worker.database import transaction
from worker.domain.access import Scope
from worker.parts import Parts


@pytest.fixture
def parts(database_url: str, build: Callable[..., Parts], sandbox: Sandbox) -> Parts:
    sandbox.create_channel("default", api_key=API_KEY, limit="none")
    return build(database_url)


@pytest.fixture
def crm(parts: Parts, sandbox: Sandbox) -> Crm:
    crm = Crm(parts, sandbox)
    crm.channels("default")
    health.check_channels(parts)
    return crm


def basic(key: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"anybody:{key}".encode()).decode()}


def page(client: FlaskClient, path: str = "/dashboard") -> TestResponse:
    answer = client.get(path, headers=basic(KEY))
    assert answer.content_type == "text/html; charset=utf-8"
    return answer


def words(answer: TestResponse) -> str:
    """What people read, without markup."""
    body = re.sub(r"<style>.*?</style>", "", answer.text, flags=re.DOTALL)
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", body)).split())


def test_a_browser_that_asks_for_the_front_is_shown_the_dashboard_and_a_program_the_places(
    client: FlaskClient,
) -> None:
    browser = client.get("/", headers={"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"})
    assert (browser.status_code, browser.location) == (302, "/dashboard")
    for accept in ({}, {"Accept": "*/*"}, {"Accept": "application/json"}):
        assert client.get("/", headers=accept).json["dashboard"] == "/dashboard"


def test_it_says_that_messages_flow(client: FlaskClient, crm: Crm) -> None:
    crm.enqueue(["hello"])
    drain(crm.parts)
    evidence.reconcile_messages(crm.parts)

    said = words(page(client))

    assert "Messages flow." in said
    assert "1 accepted, 1 ticked" in said
    assert "+917033000000 ✓✓ delivered" in said or "+917033000000 ✓ sent" in said
    assert "hello" not in said, "texts are nobody's business here"


def test_it_says_why_they_do_not_and_what_to_do(client: FlaskClient, crm: Crm, sandbox: Sandbox) -> None:
    sandbox.set_status("default", "need_scan")
    crm.set_channel("default", check_due_at=crm.parts.clock())
    health.check_channels(crm.parts)
    crm.enqueue(["hello"])

    answer = page(client)

    said = words(answer)
    assert "Messages do not flow." in said
    assert "What to do: Scan the QR code: truetick channels reconnect default" in said
    assert re.search(r"\b1 .{0,3}pending|pending .{0,3}1\b", said)
    assert '<meta http-equiv="refresh" content="10">' in answer.text


def test_a_default_channel_that_nobody_uses_is_no_trouble(client: FlaskClient, crm: Crm) -> None:
    crm.channels("sales", "support")
    crm.set_channel("default", state="blocked", reason="no_api_key")
    crm.set_channel("sales", checked_at=crm.parts.clock())
    crm.set_channel("support", state="down", reason="need_scan", checked_at=crm.parts.clock())

    answer = page(client)

    assert "Messages do not flow on support." in words(answer)
    assert answer.text.count('class="card bad"') == 1
    crm.enqueue(["one"], channel="default")
    assert "Messages do not flow on default, support." in words(page(client))


def test_a_message_has_a_page_with_its_causes(client: FlaskClient, crm: Crm, sandbox: Sandbox) -> None:
    sandbox.fault("error", when="before", endpoint="send-message")
    crm.enqueue(["unlucky"], crm_ref="order 17")
    drain(crm.parts)
    (row,) = crm.messages()
    why = client.get(f"/api/messages/{row.id}/why", headers=AUTHORIZED).json

    said = words(page(client, f"/dashboard/messages/{row.id}"))

    for sentence in why["because"]:
        assert " ".join(sentence.split()) in said
    assert "order 17" in said
    assert f"whose turn {why['whose_turn']}" in said
    assert "unlucky" not in said


@pytest.mark.parametrize("wanted", ["70330 00001", "+917033000001", "order 17"])
def test_a_message_is_found_by_its_number_and_by_its_reference(client: FlaskClient, crm: Crm, wanted: str) -> None:
    crm.enqueue(["one"], to=lambda _: "7033000002")
    crm.enqueue(["two"], to=lambda _: "7033000001", crm_ref="order 17")

    said = words(client.get("/dashboard", query_string={"find": wanted}, headers=basic(KEY)))

    assert "+917033000001" in said
    assert "+917033000002" not in said


def test_a_message_is_found_by_its_id(client: FlaskClient, crm: Crm) -> None:
    crm.enqueue(["one"])
    (row,) = crm.messages()

    found = client.get("/dashboard", query_string={"find": f" {row.id} "}, headers=basic(KEY))

    assert (found.status_code, found.location) == (302, f"/dashboard/messages/{row.id}")


def test_those_that_wait_for_a_person_are_listed(client: FlaskClient, crm: Crm) -> None:
    crm.enqueue(["one", "two"])
    crm.set_message(2, state="in_doubt", attention="in_doubt", attempts=1)

    said = words(page(client, "/dashboard?attention=true"))
    listed = client.get("/api/messages?attention=true", headers=AUTHORIZED).json["messages"]
    others = client.get("/api/messages?attention=false", headers=AUTHORIZED).json["messages"]

    assert "Messages: wait for a person" in said
    assert "+917033000001" in said
    assert "+917033000000" not in said
    assert [message["recipient"] for message in listed] == ["+917033000001"]
    assert [message["recipient"] for message in others] == ["+917033000000"]


def test_a_long_list_goes_on_on_the_next_page(client: FlaskClient, crm: Crm) -> None:
    crm.enqueue([str(index) for index in range(30)])

    first = page(client).text
    older = html.unescape(re.search(r'href="([^"]+)">older ones', first)[1])  # type: ignore[index]
    second = page(client, older).text

    shown = [re.findall(r">(\+91\d+)</a></td>", text) for text in (first, second)]
    assert [len(numbers) for numbers in shown] == [25, 5]
    assert len({*shown[0], *shown[1]}) == 30
    assert "older ones" not in second


def test_what_a_crm_wrote_is_shown_and_never_run(client: FlaskClient, crm: Crm) -> None:
    crm.enqueue(["x"], crm_ref="<b>bold</b>")
    crm.set_message(1, to="<script>alert(1)</script>", recipient=None)
    (row,) = crm.messages()

    for path in ("/dashboard", f"/dashboard/messages/{row.id}", "/dashboard?find=<script>alert(2)</script>"):
        text = page(client, path).text
        assert "<script" not in text
        assert "<b>" not in text
    assert "<script>alert(1)</script>" in words(page(client))


def test_nothing_runs_and_nothing_comes_from_elsewhere(client: FlaskClient, crm: Crm) -> None:
    answer = page(client)

    policy = answer.headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    assert "unsafe" not in policy
    assert answer.headers["X-Frame-Options"] == "DENY"
    assert answer.headers["Cache-Control"] == "no-store"
    assert not re.search(r"https?://", answer.text)


def challenged(client: FlaskClient, headers: dict[str, str]) -> Any:
    answer = client.get("/dashboard", headers=headers)
    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"].startswith("Basic realm=")
    assert "Messages" not in words(answer)
    return words(answer)


def test_without_a_key_that_reads_a_browser_asks_for_one(client: FlaskClient, crm: Crm) -> None:
    with transaction(crm.parts.engine) as connection:
        now = crm.parts.clock()
        shop = access_tokens.add(connection, "shop", frozenset({Scope.SEND}), now=now)
        support = access_tokens.add(connection, "support", frozenset({Scope.READ}), now=now)

    assert "truetick tokens add NAME --scope read" in challenged(client, {})
    challenged(client, basic("wrong"))
    challenged(client, basic(""))
    challenged(client, {"Authorization": "Basic not-base64"})
    assert "truetick tokens add NAME --scope read" in challenged(client, basic(shop))
    assert client.get("/dashboard", headers=basic(support)).status_code == 200
    assert client.get("/dashboard", headers=AUTHORIZED).status_code == 200


def test_a_password_opens_pages_only(client: FlaskClient, crm: Crm) -> None:
    assert client.get("/api/messages", headers=basic(KEY)).json["code"] == "no_api_key"
    assert client.get("/metrics", headers=basic(KEY)).json["code"] == "no_api_key"


@pytest.mark.parametrize(
    ("path", "status", "said"),
    [
        ("/dashboard/messages/7", 422, "A message's id is a UUID"),
        ("/dashboard/messages/00000000-0000-4000-8000-000000000000", 404, "There is no message"),
        ("/dashboard?status=lost", 422, "The parameters cannot be used"),
        ("/dashboard?find=%00", 422, "The parameters cannot be used"),
        ("/dashboard?nothing=1", 422, "There is a parameter that does not exist here"),
    ],
)
def test_a_mistake_is_told_on_a_page(client: FlaskClient, crm: Crm, path: str, status: int, said: str) -> None:
    answer = page(client, path)

    assert answer.status_code == status
    assert said in words(answer)


def test_an_empty_search_lists_all(client: FlaskClient, crm: Crm) -> None:
    crm.enqueue(["one"])

    assert "+917033000000" in words(page(client, "/dashboard?find="))


def test_before_anything_is_set_up_it_says_how_to_begin(client: FlaskClient) -> None:
    said = words(page(client))

    assert "No messages flow: there is no channel." in said
    assert "truetick channels add" in said
    assert "Nothing has been sent yet." in said
