"""GET /api/messages/changes: no change is ever skipped, told twice, or moved, whoever commits when."""

import random
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import UUID, uuid4

from apiflask import APIFlask
from flask.testing import FlaskClient
from sqlalchemy import event, select

from crm_bridge.web import composed_answers, create_app
from tests.bridge.conftest import AUTHORIZED, keyed
from worker import intake
from worker.database import snapshot, transaction
from worker.domain.message_request import parse_request
from worker.models import Event, Message
from worker.outbox import people
from worker.outbox.events import Source
from worker.parts import Parts


def send(client: FlaskClient, **more: Any) -> str:
    answer = client.post("/api/messages", json={"to": "7033009600", "text": "Hello"} | more, headers=AUTHORIZED)
    return str(answer.json["id"])


def follow(client: FlaskClient, after: int = 0, **query: int) -> dict[str, Any]:
    answer = client.get("/api/messages/changes", query_string={"after": after} | query, headers=AUTHORIZED)
    assert answer.status_code == 200, answer.text
    composed_answers.MessageChanges.model_validate(answer.json)
    told: dict[str, Any] = answer.json
    return told


def test_each_change_is_told_with_the_message_as_it_is_now(client: FlaskClient) -> None:
    first, second = send(client), send(client)
    client.post(f"/api/messages/{first}/cancel", headers=AUTHORIZED)

    told = follow(client)

    assert [(one["id"], one["change"]["status"], one["status"]) for one in told["messages"]] == [
        (first, "pending", "cancelled"),
        (second, "pending", "pending"),
        (first, "cancelled", "cancelled"),
    ]
    assert [one["change"]["seq"] for one in told["messages"]] == [1, 2, 3]
    assert told["next"] == 3


def test_many_changes_are_numbered_by_one_statement(client: FlaskClient, parts: Parts) -> None:
    sent = [send(client) for _ in range(20)]
    rows_at_once: list[int] = []

    @event.listens_for(parts.engine, "before_cursor_execute")
    def note(_c: Any, _cursor: Any, statement: str, given: Any, _x: Any, executemany: bool) -> None:
        if statement.startswith("UPDATE events"):
            rows_at_once.append(len(given) if executemany else 1)

    assert [one["id"] for one in follow(client)["messages"]] == sent
    assert rows_at_once == [1]


def test_a_follower_goes_on_where_it_was_and_hears_nothing_twice(client: FlaskClient) -> None:
    sent = [send(client) for _ in range(5)]

    first = follow(client, limit=2)
    rest = follow(client, first["next"], limit=100)
    nothing = follow(client, rest["next"])
    later = send(client)

    assert [one["id"] for one in first["messages"] + rest["messages"]] == sent
    assert nothing == {"messages": [], "next": rest["next"]}
    assert [one["id"] for one in follow(client, nothing["next"])["messages"]] == [later]


def test_asking_when_there_is_nothing_new_writes_nothing(client: FlaskClient, parts: Parts) -> None:
    send(client)
    end = follow(client)["next"]

    with transaction(parts.engine):  # whoever writes at all would wait for this one on SQLite
        assert follow(client, end) == {"messages": [], "next": end}


def test_a_place_that_the_feed_has_not_reached_is_no_place_to_wait_at(client: FlaskClient) -> None:
    send(client)
    follow(client)

    answer = client.get("/api/messages/changes?after=7", headers=AUTHORIZED)

    assert (answer.status_code, answer.json["code"]) == (422, "ahead_of_feed")
    assert "ends at 1" in answer.json["detail"]


def test_a_change_that_was_begun_first_and_committed_last_is_not_skipped(
    postgres_url: str, build: Callable[..., Parts]
) -> None:
    parts = keyed(build(postgres_url))
    client = create_app(parts).test_client()
    end = (send(client), follow(client)["next"])[1]
    late = uuid4()
    with transaction(parts.engine) as connection:
        request = parse_request({"to": "7033009600", "text": "Late"})
        intake.send_request(parts, connection, request, now=parts.clock(), message_id=late, source=Source.API)
        early = send(client)
        seen = follow(client, end)
    told = follow(client, seen["next"])

    with snapshot(parts.engine) as connection:
        begun = select(Message.id).join(Event, Event.message_seq == Message.seq).order_by(Event.id)
        in_order_of_begin = connection.execute(begun).all()
    assert in_order_of_begin[1:] == [(late,), (UUID(early),)]
    assert [one["id"] for one in seen["messages"]] == [early]
    assert [one["id"] for one in told["messages"]] == [str(late)]


def test_among_many_writers_and_followers_everybody_hears_every_change_once_and_in_one_order(
    app: APIFlask, parts: Parts
) -> None:
    writers, per_writer = 5, 6
    done = threading.Event()
    made: list[UUID] = []

    def write(number: int) -> None:
        chance = random.Random(number)
        for _ in range(per_writer):
            message_id = uuid4()
            with transaction(parts.engine) as connection:
                request = parse_request({"to": f"70330096{number:02d}", "text": "Hello"})
                intake.send_request(
                    parts, connection, request, now=parts.clock(), message_id=message_id, source=Source.API
                )
                if chance.random() < 0.5:
                    connection.exec_driver_sql("SELECT 1")
                    threading.Event().wait(chance.random() * 0.01)
                if chance.random() < 0.2:
                    connection.rollback()
                    continue
            made.append(message_id)
            with transaction(parts.engine) as connection:
                people.cancel(connection, message_id, now=parts.clock())

    def listen(limit: int) -> list[tuple[int, str, str]]:
        client, heard, after = app.test_client(), [], 0
        while True:
            last_look = done.is_set()
            told = follow(client, after, limit=limit)
            heard += [(one["change"]["seq"], one["id"], one["change"]["status"]) for one in told["messages"]]
            if last_look and not told["messages"]:
                return heard
            after = told["next"]

    with ThreadPoolExecutor(writers + 3) as people_at_work:
        listeners = [people_at_work.submit(listen, limit) for limit in (1, 7, 500)]
        at_work = [people_at_work.submit(write, number) for number in range(writers)]
        for one in at_work:
            one.result()
        done.set()
        heard = [listener.result() for listener in listeners]

    assert heard[0] == heard[1] == heard[2]
    assert [seq for seq, _, _ in heard[0]] == list(range(1, 2 * len(made) + 1))
    by_message: dict[str, list[str]] = {}
    for _, message_id, status in heard[0]:
        by_message.setdefault(message_id, []).append(status)
    assert by_message == {str(message_id): ["pending", "cancelled"] for message_id in made}
