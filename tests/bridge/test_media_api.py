"""`POST /api/media`: files handed over once, refused early, and named in messages."""

import io
import json
from typing import Any
from uuid import UUID

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from crm_bridge.web.media_routes import EXAMPLE, File
from tests.bridge.conftest import AUTHORIZED
from tests.files import GENUINE, png
from worker.domain.media import LARGEST_FILE, MB


def hand_over(client: FlaskClient, content: bytes, mime_type: str = "image/png", **headers: str) -> TestResponse:
    return client.post("/api/media", data=content, content_type=mime_type, headers=AUTHORIZED | headers)


def send(client: FlaskClient, **request: Any) -> TestResponse:
    return client.post("/api/messages", json={"to": "70330 09600"} | request, headers=AUTHORIZED)


def test_a_file_is_handed_over_once_and_named_in_messages(client: FlaskClient) -> None:
    first, again = hand_over(client, png()), hand_over(client, png(), "image/PNG; charset=binary")

    file = File.model_validate_json(first.data)
    assert (first.status_code, again.status_code) == (201, 200)
    assert first.json == again.json
    assert file.url == f"media:{file.id}"
    assert (file.mime_type, file.size, file.fields) == ("image/png", len(png()), ["image_url", "document_url"])

    assert send(client, text="Look", image_url=file.url).status_code == 202
    wrong = send(client, video_url=file.url)
    unknown = send(client, image_url=f"media:{UUID(int=0)}")
    assert (wrong.status_code, wrong.json["code"]) == (422, "wrong_media_kind")  # type: ignore[index]
    assert (unknown.status_code, unknown.json["code"]) == (422, "unknown_media")  # type: ignore[index]


@pytest.mark.parametrize(
    ("content", "mime_type", "status", "code"),
    [
        (b"", "image/png", 422, "empty_file"),
        (b"GIF89a", "image/gif", 415, "unsupported_media_type"),
        (b"{}", "application/json", 415, "unsupported_media_type"),
        (png(), "", 415, "unsupported_media_type"),
        (b"%PDF-1.7", "image/png", 422, "media_mismatch"),
        (b"RIFF\x20\0\0\0WEBPVP8 " + bytes(5 * MB), "image/webp", 422, "media_too_large"),
        (b"%PDF-1.7\n" + bytes(LARGEST_FILE), "application/pdf", 413, "too_large"),
    ],
)
def test_what_cannot_be_sent_is_refused_at_once(
    sqlite_client: FlaskClient, content: bytes, mime_type: str, status: int, code: str
) -> None:
    answer = hand_over(sqlite_client, content, mime_type)
    assert (answer.status_code, answer.content_type) == (status, "application/problem+json")
    assert json.loads(answer.data)["code"] == code


def test_a_body_that_comes_in_chunks_has_the_same_limit(sqlite_client: FlaskClient) -> None:
    answer = sqlite_client.post(
        "/api/media",
        input_stream=io.BytesIO(b"%PDF-1.7\n" + bytes(LARGEST_FILE)),
        content_type="application/pdf",
        headers=AUTHORIZED | {"Transfer-Encoding": "chunked"},
        environ_overrides={"wsgi.input_terminated": True},
    )
    assert answer.status_code == 413


def test_a_compressed_file_is_not_taken_for_a_file(sqlite_client: FlaskClient) -> None:
    answer = hand_over(sqlite_client, png(), **{"Content-Encoding": "gzip"})
    assert (answer.status_code, answer.json["code"]) == (415, "wrong_content_type")  # type: ignore[index]


def test_the_largest_document_is_taken(sqlite_client: FlaskClient) -> None:
    answer = hand_over(sqlite_client, b"%PDF-1.7\n" + bytes(LARGEST_FILE - 9), "application/pdf")
    assert answer.status_code == 201
    assert answer.json["fields"] == ["document_url"]  # type: ignore[index]


def test_every_genuine_file_finds_its_field(sqlite_client: FlaskClient) -> None:
    for mime_type, files in GENUINE.items():
        for content in files:
            answer = hand_over(sqlite_client, content, mime_type)
            assert answer.status_code in (200, 201), (mime_type, answer.json)


def test_nobody_hands_over_a_file_without_a_key(sqlite_client: FlaskClient) -> None:
    answer = sqlite_client.post("/api/media", data=png(), content_type="image/png")
    assert (answer.status_code, answer.json["code"]) == (401, "no_api_key")  # type: ignore[index]


def test_the_description_names_the_types_and_shows_an_answer(sqlite_client: FlaskClient) -> None:
    told = sqlite_client.get("/openapi.json").json["paths"]["/api/media"]["post"]  # type: ignore[index]
    assert {*GENUINE} == {*told["requestBody"]["content"]}
    assert {"200", "201", "401", "403", "413", "415", "422"} <= {*told["responses"]}
    assert File.model_validate(EXAMPLE)
