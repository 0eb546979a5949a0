"""`truetick tokens` in an operator's hands."""

import re
from collections.abc import Callable

import pytest
from sqlalchemy import select

from tests.cli.conftest import Said
from worker.database import open_engine, snapshot
from worker.domain.access import digest
from worker.models import AccessToken

Truetick = Callable[..., Said]
KEY = re.compile(r"^tt_[A-Za-z0-9_-]{43}$", re.MULTILINE)


def digests(url: str) -> set[str]:
    engine = open_engine(url)
    with snapshot(engine) as connection:
        kept = connection.execute(select(AccessToken.digest, AccessToken.former_digest)).all()
    engine.dispose()
    return {one for row in kept for one in row if one}


def test_a_key_is_shown_once_and_only_its_digest_is_kept(on: Truetick, sqlite_url: str) -> None:
    said = on("tokens", "add", "crm", "--scope", "send", "--scope", "read")

    assert said.code == 0, said.err
    (key,) = KEY.findall(said.out)
    assert "send read" in said.out
    assert digests(sqlite_url) == {digest(key)}
    listed = on("tokens", "list", columns=120)
    assert (listed.code, KEY.findall(listed.out)) == (0, [])
    assert "crm" in listed.out
    assert key[:8] in listed.out
    assert "never" in listed.out


def test_every_command_answers_programs_in_json(on: Truetick) -> None:
    added = on("tokens", "add", "crm", "--scope", "operate", "--expires-in", "90d", "--json").json
    rotated = on("tokens", "rotate", "crm", "--overlap", "2h", "--json").json
    revoked = on("tokens", "revoke", "crm", "--json").json
    (listed,) = on("tokens", "--json").json["tokens"]

    assert (added["name"], added["state"], added["scopes"]) == ("crm", "open", ["operate"])
    assert added["expires_at"] > added["created_at"]
    assert KEY.match(added["key"])
    assert KEY.match(rotated["key"])
    assert added["key"] != rotated["key"]
    assert rotated["former_key_until"] is not None
    assert "key" not in revoked
    assert "key" not in listed
    assert listed["state"] == revoked["state"] == "revoked"


def test_a_rotation_says_how_long_the_former_key_opens(on: Truetick, sqlite_url: str) -> None:
    (first,) = KEY.findall(on("tokens", "add", "crm", "--scope", "read").out)

    gently = on("tokens", "rotate", "crm")
    (second,) = KEY.findall(gently.out)
    assert "24 h more" in gently.out
    assert digests(sqlite_url) == {digest(first), digest(second)}

    at_once = on("tokens", "rotate", "crm", "--overlap", "0s")
    (third,) = KEY.findall(at_once.out)
    assert "former key" not in at_once.out
    assert digests(sqlite_url) == {digest(third)}


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["add", "crm"], 2, "--scope"),
        (["add", "crm", "--scope", "everything"], 2, "operate"),
        (["add", "CRM!", "--scope", "send"], 1, "cannot be a token's name"),
        (["add", "crm", "--scope", "send", "--expires-in", "soon"], 2, "24h or 90d"),
        (["rotate", "nobody"], 1, "no token named 'nobody'"),
        (["revoke", "nobody"], 1, "no token named 'nobody'"),
        (["fly"], 2, "No such command"),
    ],
)
def test_what_cannot_be_done_is_said_in_a_sentence(on: Truetick, arguments: list[str], code: int, said: str) -> None:
    answer = on("tokens", *arguments)

    assert (answer.code, answer.out) == (code, "")
    assert said in " ".join(answer.err.replace("│", " ").split())


def test_a_name_is_taken_for_good_and_a_revoked_token_stays_revoked(on: Truetick) -> None:
    on("tokens", "add", "crm", "--scope", "send")

    again = on("tokens", "add", "crm", "--scope", "send")
    revoked = [on("tokens", "revoke", "crm").code for _ in range(2)]
    rotated = on("tokens", "rotate", "crm")
    anew = on("tokens", "add", "crm", "--scope", "send")

    assert (again.code, revoked, rotated.code, anew.code) == (1, [0, 0], 1, 1)
    assert "truetick tokens rotate crm" in " ".join(again.err.split())
    assert "was revoked. Make a new one: truetick tokens add ANOTHER-NAME" in " ".join(rotated.err.split())
    said = " ".join(anew.err.split())
    assert "Token crm was revoked, and its name stays taken" in said
    assert "Choose another name." in said
    assert "rotate" not in said


def test_without_a_token_the_list_says_how_to_make_one(on: Truetick) -> None:
    assert "truetick tokens add" in on("tokens").out
