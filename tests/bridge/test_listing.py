"""GET /api/messages: filters, pages that neither repeat nor skip, and what is wrong told as such."""

from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from crm_bridge.web import composed_answers, create_app
from tests.bridge.conftest import AUTHORIZED
from worker.channels import registry
from worker.channels.registry import NewChannel
from worker.database import transaction
from worker.domain.pace import Pace
from worker.parts import Parts


def send(client: FlaskClient, **more: Any) -> str:
    answer = client.post("/api/messages", json={"to": "7033009600", "text": "Hello"} | more, headers=AUTHORIZED)
    assert answer.status_code == 202, answer.text
    return str(answer.json["id"])


def ask(client: FlaskClient, **query: str) -> TestResponse:
    return client.get("/api/messages", query_string=query, headers=AUTHORIZED)


def ids(client: FlaskClient, **query: str) -> list[str]:
    answer = ask(client, **query)
    assert answer.status_code == 200, answer.text
    return [str(message.id) for message in composed_answers.MessageList.model_validate(answer.json).messages]


def test_the_newest_come_first_and_the_cursor_leads_through_all_of_them_once(client: FlaskClient) -> None:
    sent = [send(client) for _ in range(7)]

    pages, cursor = [], {}
    while True:
        answer = ask(client, limit="3", **cursor).json
        pages.append([message["id"] for message in answer["messages"]])
        if answer["next"] is None:
            break
        cursor = {"cursor": answer["next"]}
        send(client)  # what comes in between stands before the first page, and moves none of the others

    assert pages == [sent[6:3:-1], sent[3:0:-1], sent[0:1]]


def test_a_last_page_that_is_full_has_no_next_one(client: FlaskClient) -> None:
    send(client)
    send(client)

    assert ask(client, limit="2").json["next"] is None
    assert ask(client, limit="1").json["next"] is not None


def test_each_filter_finds_its_own_and_several_narrow_each_other(client: FlaskClient, parts: Parts) -> None:
    with transaction(parts.engine) as connection:
        registry.add(connection, NewChannel(name="sales", pace=Pace(1, 5)), parts.clock())
    plain = send(client)
    for_sales = send(client, channel="sales", crm_ref="4711")
    to_other = send(client, to="+91 70330 09601", crm_ref="4711")
    assert client.post(f"/api/messages/{plain}/cancel", headers=AUTHORIZED).status_code == 200

    assert ids(client, status="cancelled") == [plain]
    assert ids(client, status="pending") == ids(client, status="queued") == [to_other, for_sales]
    assert ids(client, channel="sales") == [for_sales]
    assert ids(client, to="070330-09601") == [to_other]
    assert ids(client, crm_ref="4711") == [to_other, for_sales]
    assert ids(client, crm_ref="4711", channel="default") == [to_other]
    assert ids(client, to="no number at all") == []


def test_times_bound_the_list_with_the_first_moment_in_and_the_last_one_out(
    client: FlaskClient, parts: Parts
) -> None:
    now = parts.clock()
    times = [now + timedelta(hours=hours) for hours in range(3)]
    sent = []
    for time in times:
        object.__setattr__(parts, "clock", lambda time=time: time)
        sent.append(send(create_app(parts).test_client()))

    assert ids(client, created_after=times[1].isoformat()) == [sent[2], sent[1]]
    assert ids(client, created_before=times[1].isoformat()) == [sent[0]]
    assert ids(client, created_after=times[1].isoformat(), created_before=times[2].isoformat()) == [sent[1]]
    unescaped = client.get(f"/api/messages?created_after={times[2].isoformat()}", headers=AUTHORIZED)
    assert [message["id"] for message in unescaped.json["messages"]] == [sent[2]]


@pytest.mark.parametrize(
    ("query", "code", "named"),
    [
        ({"stauts": "sent"}, "unknown_parameter", "status"),
        ({"status": "gone"}, "bad_parameter", "status"),
        ({"status": ""}, "bad_parameter", "status"),
        ({"limit": "0"}, "bad_parameter", "limit"),
        ({"limit": "201"}, "bad_parameter", "limit"),
        ({"limit": "1_0"}, "bad_parameter", "limit"),
        ({"limit": "9" * 3000}, "bad_parameter", "limit"),
        ({"limit": "٣"}, "bad_parameter", "limit"),
        ({"channel": "nowhere"}, "unknown_channel", "nowhere"),
        ({"channel": "No Where"}, "bad_parameter", "channel"),
        ({"to": ""}, "bad_parameter", "to"),
        ({"to": "a\x00"}, "bad_parameter", "to"),
        ({"crm_ref": "x" * 201}, "bad_parameter", "crm_ref"),
        ({"created_after": "yesterday"}, "bad_parameter", "created_after"),
        ({"created_after": "2026-11-22T12:00:00"}, "bad_parameter", "created_after"),
        ({"created_before": "1700000000"}, "bad_parameter", "created_before"),
        ({"cursor": "x"}, "bad_cursor", "cursor"),
        ({"cursor": "YmVmb3JlOi0x"}, "bad_cursor", "cursor"),
        ({"cursor": "YmVmb3JlOjE="}, "bad_cursor", "cursor"),
    ],
)
def test_a_wrong_filter_is_refused_by_name(
    sqlite_client: FlaskClient, query: dict[str, str], code: str, named: str
) -> None:
    answer = ask(sqlite_client, **query)

    assert (answer.status_code, answer.json["code"]) == (422, code)
    assert named in answer.json["detail"]


def test_a_filter_given_twice_is_refused(sqlite_client: FlaskClient) -> None:
    answer = sqlite_client.get("/api/messages?limit=1&limit=2", headers=AUTHORIZED)

    assert (answer.status_code, answer.json["code"]) == (422, "bad_parameter")


@pytest.mark.parametrize(("path", "code"), [("", 404), ("/why", 404)])
def test_what_does_not_exist_is_told_from_what_is_no_id(sqlite_client: FlaskClient, path: str, code: int) -> None:
    assert sqlite_client.get(f"/api/messages/{uuid4()}{path}", headers=AUTHORIZED).status_code == code
    assert sqlite_client.get(f"/api/messages/{{{uuid4()}}}{path}", headers=AUTHORIZED).status_code == 422
