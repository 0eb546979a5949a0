"""`truetick send --file`: a file from the operator's disk becomes the message that shows it best."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from tests.cli.conftest import Said
from tests.files import png
from worker.database import open_engine, snapshot
from worker.models import Media, Message

Truetick = Callable[..., Said]


def stored(url: str) -> list[dict[str, Any]]:
    engine = open_engine(url)
    with snapshot(engine) as connection:
        contents = connection.execute(select(Message.content).order_by(Message.seq)).scalars().all()
    engine.dispose()
    return list(contents)


def test_a_picture_goes_out_as_a_picture_and_a_bill_as_a_document(
    on: Truetick, tmp_path: Path, sqlite_url: str
) -> None:
    picture, bill = tmp_path / "shop.PNG", tmp_path / "bill.pdf"
    picture.write_bytes(png())
    bill.write_bytes(b"%PDF-1.7\n")

    first = on("send", "7033009600", "The new shop", "--file", str(picture), "--json").json
    second = on("send", "7033009600", "--file", str(bill), "--json").json
    third = on("send", "7033009600", "Again", "--file", str(bill), "--file-name", "Bill 7.pdf", "--json").json

    assert [first["kind"], second["kind"], third["kind"]] == ["image", "document", "document"]
    shown, named, renamed = stored(sqlite_url)
    assert shown["text"] == "The new shop"
    assert shown["image_url"].startswith("media:")
    assert (named["file_name"], renamed["file_name"]) == ("bill.pdf", "Bill 7.pdf")
    assert named["document_url"] == renamed["document_url"]


@pytest.mark.parametrize(
    ("name", "content", "word"),
    [
        ("a.png", b"%PDF-1.7", "does not begin like"),
        ("a.gif", b"GIF89a", "no files of this type"),
        ("a.pdf", b"", "empty"),
    ],
)
def test_a_file_that_cannot_be_sent_is_refused_by_its_name(
    on: Truetick, tmp_path: Path, sqlite_url: str, name: str, content: bytes, word: str
) -> None:
    (tmp_path / name).write_bytes(content)

    said = on("send", "7033009600", "--file", str(tmp_path / name))

    assert said.code != 0
    assert name in said.err
    assert word in " ".join(said.err.split())
    assert stored(sqlite_url) == []


def test_a_request_that_cannot_be_used_keeps_no_file(on: Truetick, tmp_path: Path, sqlite_url: str) -> None:
    (tmp_path / "a.png").write_bytes(png())

    said = on(
        "send",
        "7033009600",
        "--file",
        str(tmp_path / "a.png"),
        "--image-url",
        "https://files.example/a",
        "--audio-url",
        "https://files.example/b",
    )

    assert said.code != 0
    engine = open_engine(sqlite_url)
    with snapshot(engine) as connection:
        assert connection.execute(select(Media.id)).all() == []
    engine.dispose()
