"""What WaSender says about connecting, codes and new keys: every documented answer, and every other one."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.domain.account import Problem, ProblemCode
from worker.domain.linking import LONGEST_CODE, ConnectReport
from worker.gateway.line import Answer
from worker.gateway.linking_reports import read_connect, read_new_key, read_qr_code

NOW = 1_790_000_000.0
CODE = "2@AbCdEf=="
KEY = "0123456789abcdef" * 4


def answered(body: Any, status: int = 200) -> Answer:
    return Answer(status=status, headers={}, body=body if isinstance(body, bytes) else json.dumps(body).encode())


def ok(**data: Any) -> Answer:
    return answered({"success": True, "data": data})


@pytest.mark.parametrize(
    ("data", "status", "code"),
    [
        ({"status": "NEED_SCAN", "qrCode": CODE}, "need_scan", CODE),
        ({"status": "need_scan", "qr": CODE}, "need_scan", CODE),
        ({"status": "NEED_SCAN"}, "need_scan", None),
        ({"status": "NEED_PASSKEY", "passkey": {"token": "t", "expires_at": "later"}}, "need_passkey", None),
        ({"status": "CONNECTED", "message": "Session already initialized or connecting."}, "connected", None),
    ],
)
def test_a_connect_is_read(data: dict[str, Any], status: str, code: str | None) -> None:
    report = read_connect(ok(**data), now=NOW)
    assert isinstance(report, ConnectReport)
    assert (report.status, report.qr_code and report.qr_code.get_secret_value()) == (status, code)
    assert CODE not in repr(report)


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (
            {"success": False, "error": "You need to have an active subscription to connect a WhatsApp session."},
            403,
            ProblemCode.NO_SUBSCRIPTION,
        ),
        (
            {"success": False, "error": "You need to have an active subscription to connect a WhatsApp session."},
            200,
            ProblemCode.NO_SUBSCRIPTION,
        ),
        ({"success": False, "error": "WhatsApp session is not initialized."}, 400, ProblemCode.REFUSED),
        ({"success": False, "error": "WhatsApp session not found."}, 404, ProblemCode.UNKNOWN_SESSION),
        ({"message": "Too Many Attempts.", "retry_after": 9}, 429, ProblemCode.THROTTLED),
        ({"success": True, "data": {}}, 200, ProblemCode.UNREADABLE_ANSWER),
        (b"<html><title>520</title></html>", 520, ProblemCode.SERVER_ERROR),
        (b"", 200, ProblemCode.UNREADABLE_ANSWER),
    ],
)
def test_every_refusal_is_a_problem(body: Any, status: int, code: ProblemCode) -> None:
    for read in (read_connect, read_qr_code, read_new_key):
        problem = read(answered(body, status), now=NOW)
        assert isinstance(problem, Problem)
        assert problem.code is code


@pytest.mark.parametrize("code", ["", "  ", "x" * (LONGEST_CODE + 1), "2@\x1b[31m", "2@é", 7, None, ["2@"]])
def test_what_is_no_code_is_none(code: object) -> None:
    assert isinstance(read_qr_code(ok(qrCode=code), now=NOW), Problem)


def test_a_new_key_stands_at_the_top_or_in_the_data() -> None:
    for answer in (answered({"success": True, "api_key": KEY}), ok(api_key=KEY)):
        key = read_new_key(answer, now=NOW)
        assert not isinstance(key, Problem)
        assert key.get_secret_value() == KEY


@pytest.mark.parametrize("key", ["", " ", "two words", "x" * 513, "k\n", "clé", 7, None])
def test_what_no_header_can_carry_is_no_key(key: object) -> None:
    problem = read_new_key(answered({"success": True, "api_key": key}), now=NOW)
    assert isinstance(problem, Problem)
    assert problem.code is ProblemCode.UNREADABLE_ANSWER


@given(status=st.integers(100, 599), body=st.binary(max_size=200))
def test_nothing_that_comes_makes_it_raise(status: int, body: bytes) -> None:
    for read in (read_connect, read_qr_code, read_new_key):
        read(answered(body, status), now=NOW)
