"""What a personal access token can ask and do: against the sandbox over sockets, and against odd servers."""

import json
import logging
import socket
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from email.utils import formatdate

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import SecretStr

from tests.gateway.scripted_server import Serve, answering, http_answer, read_request
from tests.gateway.strategies import bodies, json_values
from wasender_sandbox.control import Sandbox
from worker.domain.account import (
    LogPage,
    LogRow,
    Problem,
    ProblemCode,
    RestartReport,
    SessionLogPage,
    SessionView,
)
from worker.domain.log_match import Absent, Found, match_log
from worker.domain.log_reading import DoubtedAttempt, read_log
from worker.domain.outage_start import began_from_session_logs
from worker.gateway.account import AccountClient, read_skew_s
from worker.gateway.account_reports import (
    read_log_page,
    read_moment,
    read_restart,
    read_session_log_page,
    read_sessions,
)
from worker.gateway.client import GatewayClient
from worker.gateway.line import Answer
from worker.gateway.payload import build_payload

PAT = "1|sandbox-personal-access-token"
KEY = "5a" * 32
TO = "+917033009600"
SESSION = 501

OpenAccount = Callable[..., AccountClient]


@pytest.fixture
def account_at() -> Iterator[OpenAccount]:
    clients: list[AccountClient] = []

    def open_client(url: str, token: str = PAT, **options: float) -> AccountClient:
        settings_ = {"connect_timeout_s": 1, "timeout_s": 1} | options
        clients.append(AccountClient(url, SecretStr(token), **settings_))  # type: ignore[arg-type]
        return clients[-1]

    yield open_client
    for client in clients:
        client.close()


@pytest.fixture
def account(sandbox: Sandbox, account_at: OpenAccount) -> AccountClient:
    """The account of a sandbox with one connected session that ticks fast."""
    sandbox.create_channel("sales", KEY, limit="none", phone_number="+15550001111", webhook_secret="hush")
    sandbox.switch("ack_after_s", 0.01)
    return account_at(sandbox.api_url, timeout_s=5)


@pytest.fixture
def gateway(sandbox: Sandbox) -> Iterator[GatewayClient]:
    client = GatewayClient(sandbox.api_url, connect_timeout_s=1, read_timeout_s=0.5)
    yield client
    client.close()


def the(result: object, kind: type) -> object:
    assert isinstance(result, kind), result
    return result


def code(result: object) -> ProblemCode:
    assert isinstance(result, Problem), result
    return result.code


def rows_of(page: LogPage | Problem) -> tuple[LogRow, ...]:
    assert isinstance(page, LogPage), page
    return page.rows


# --- the sandbox


def test_sessions_tell_which_channel_each_is(account: AccountClient, sandbox: Sandbox) -> None:
    sandbox.create_channel("support", "6b" * 32, status="need_scan", log_messages=False)
    sandbox.switch("list_status_case", "upper")
    sandbox.switch("sdk_session_fields", True)
    sales, support = the(account.sessions(), tuple)  # type: ignore[misc]
    assert isinstance(sales, SessionView)
    assert sales.api_key is not None
    assert (sales.id, sales.name, sales.status, sales.api_key.get_secret_value()) == (501, "sales", "connected", KEY)
    assert (sales.log_messages, support.log_messages) == (True, False)
    assert (support.status, support.account_protection) == ("need_scan", True)
    assert sales.phone_number == "+15******111"
    assert KEY not in repr(sales)


def test_a_mute_session_is_cured_by_one_restart(
    account: AccountClient, gateway: GatewayClient, sandbox: Sandbox
) -> None:
    sandbox.mute("sales")
    gateway.send(KEY, TO, {"text": "Hello"})
    report = account.restart(SESSION)
    assert report == RestartReport(restarted=True, said="WhatsApp session restarted successfully.")
    row = sandbox.channel("sales")
    assert (row["restarts"], row["muted"]) == (1, False)


def test_a_session_that_is_not_connected_refuses_a_restart_in_words(account: AccountClient, sandbox: Sandbox) -> None:
    sandbox.set_status("sales", "need_scan")
    report = account.restart(SESSION)
    assert report == RestartReport(restarted=False, said="WhatsApp session is not connected. Cannot restart.")
    assert sandbox.channel("sales")["restarts"] == 0


def test_a_restart_is_never_asked_for_twice(account: AccountClient, sandbox: Sandbox) -> None:
    sandbox.fault("reset", when="after", endpoint="restart", count=1)
    assert code(account.restart(SESSION)) is ProblemCode.CONNECTION_LOST
    assert sandbox.channel("sales")["restarts"] == 1, "it was carried out, though nobody was told"


def test_message_logs_tell_what_was_taken(account: AccountClient, gateway: GatewayClient) -> None:
    ids = [gateway.send(KEY, TO, {"text": f"number {number}"}).gateway_msg_id for number in range(5)]
    page = account.message_logs(SESSION, page=2, per_page=2)
    assert isinstance(page, LogPage)
    assert (page.current_page, page.last_page, page.total) == (2, 3, 5)
    assert [row.id for row in page.rows] == [ids[2], ids[1]]
    row = page.rows[0]
    assert (row.to, row.content) == (TO, {"text": "number 2"})
    assert row.status in ("in_progress", "sent")
    assert row.created_at is not None
    assert abs(row.created_at - datetime.now(UTC)) < timedelta(seconds=10)
    assert "number 2" not in repr(page)
    assert TO[1:] not in repr(page)


def test_a_log_that_is_off_hides_to_and_content(
    account: AccountClient, gateway: GatewayClient, sandbox: Sandbox
) -> None:
    sandbox.change_channel("sales", log_messages=False)
    gateway.send(KEY, TO, {"text": "Hello"})
    [row] = rows_of(account.message_logs(SESSION))
    assert (row.to, row.content) == (None, None)


@pytest.mark.parametrize("skew_s", [-420, 0, 300])
def test_session_logs_tell_when_it_left_connected_whatever_its_clock(
    account: AccountClient, sandbox: Sandbox, skew_s: int
) -> None:
    sandbox.switch("clock_skew_s", skew_s)
    before = datetime.now(UTC)
    sandbox.set_status("sales", "need_scan", quiet=True)
    page = account.session_logs(SESSION)
    assert isinstance(page, SessionLogPage)
    assert [(row.event_type, row.status) for row in page.rows] == [
        ("status_change", "need_scan"),
        ("session_created", "connected"),
    ]
    assert page.skew_s == pytest.approx(skew_s, abs=2)
    began_at = began_from_session_logs(
        page.rows, noticed_at=datetime.now(UTC), skew_s=page.skew_s, last_good_at=before - timedelta(minutes=5)
    )
    assert began_at is not None
    assert abs(began_at - before) < timedelta(seconds=3)


@pytest.mark.parametrize("token", ["2|someone-elses-token", KEY])
def test_a_token_that_wasender_does_not_know_is_told(
    account: AccountClient, account_at: OpenAccount, sandbox: Sandbox, token: str
) -> None:
    client = account_at(sandbox.api_url, token)
    results = (client.sessions(), client.restart(SESSION), client.message_logs(SESSION), client.session_logs(SESSION))
    for result in results:
        assert code(result) is ProblemCode.BAD_ACCESS_TOKEN
        assert isinstance(result, Problem)
        assert result.lasting
    assert token not in repr((results, client))


def test_a_session_that_the_account_does_not_have_is_told(account: AccountClient) -> None:
    assert code(account.message_logs(999)) is ProblemCode.UNKNOWN_SESSION
    assert code(account.session_logs(999)) is ProblemCode.UNKNOWN_SESSION
    assert code(account.restart(999)) is ProblemCode.UNKNOWN_SESSION


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("error", ProblemCode.SERVER_ERROR),
        ("html", ProblemCode.SERVER_ERROR),
        ("empty", ProblemCode.UNREADABLE_ANSWER),
        ("bad_json", ProblemCode.UNREADABLE_ANSWER),
        ("wrong_types", ProblemCode.UNREADABLE_ANSWER),
        ("truncated", ProblemCode.CONNECTION_LOST),
        ("reset", ProblemCode.CONNECTION_LOST),
        ("throttled", ProblemCode.THROTTLED),
    ],
)
def test_trouble_on_the_way_is_told_and_passes(
    account: AccountClient, sandbox: Sandbox, kind: str, expected: ProblemCode
) -> None:
    sandbox.fault(kind, endpoint="message-logs", count=1)
    problem = account.message_logs(SESSION)
    assert code(problem) is expected
    assert isinstance(problem, Problem)
    assert not problem.lasting
    assert problem.retry_after_s == (5 if kind == "throttled" else None)
    assert rows_of(account.message_logs(SESSION)) == ()


# --- doubt resolved by the sandbox's log


def in_doubt(gateway: GatewayClient, text: str, after_id: int | None) -> DoubtedAttempt:
    """Send, insist on getting no answer, and give the attempt as it is known then."""
    started_at = datetime.now(UTC)
    outcome = gateway.send(KEY, TO, {"text": text})
    assert outcome.gateway_msg_id is None
    return DoubtedAttempt(
        attempt_id=1,
        recipient=TO,
        posted=json.loads(build_payload(TO, {"text": text})),
        started_at=started_at,
        ended_at=datetime.now(UTC),
        after_id=after_id,
    )


@pytest.mark.parametrize(("when", "taken"), [("after", True), ("before", False)])
@pytest.mark.parametrize("offset_h", [0, 5.5, -12])
def test_a_lost_answer_is_resolved_by_the_log(
    account: AccountClient, gateway: GatewayClient, sandbox: Sandbox, when: str, taken: bool, offset_h: float
) -> None:
    sandbox.switch("log_zone_offset_h", offset_h)
    sandbox.switch("clock_skew_s", 180)
    before = gateway.send(KEY, TO, {"text": "Before"}).gateway_msg_id
    assert before is not None
    sandbox.fault("reset", when=when, count=1)
    attempt = in_doubt(gateway, "  In doubt ✓ ", before)
    gateway.send(KEY, TO, {"text": "After"})

    later = datetime.now(UTC) + timedelta(minutes=5)
    reading = read_log(lambda page: account.message_logs(SESSION, page), [attempt], began_at=later)
    [verdict] = match_log([attempt], reading, known={before: attempt.started_at}, logging=True).values()

    if taken:
        [entry] = sandbox.ledger(text="In doubt")
        assert isinstance(verdict, Found)
        assert (verdict.row_id, verdict.verified) == (entry.msg_id, True)
    else:
        assert verdict == Absent()
        assert sandbox.ledger(text="In doubt") == []


def test_a_log_with_ids_of_its_own_resolves_nothing(
    account: AccountClient, gateway: GatewayClient, sandbox: Sandbox
) -> None:
    sandbox.switch("log_id_is_msg_id", False)
    before = gateway.send(KEY, TO, {"text": "Before"}).gateway_msg_id
    assert before is not None
    sandbox.fault("reset", when="after", count=1)
    attempt = in_doubt(gateway, "In doubt", before)
    reading = read_log(
        lambda page: account.message_logs(SESSION, page),
        [attempt],
        began_at=datetime.now(UTC) + timedelta(minutes=5),
    )
    [verdict] = match_log([attempt], reading, known={before: attempt.started_at}, logging=True).values()
    assert getattr(verdict, "reason", None) == "ids_unverified"


# --- odd servers


def test_each_call_is_one_request_as_documented(account_at: OpenAccount, serve: Serve) -> None:
    seen: list[str] = []

    def script(conn: socket.socket) -> None:
        while request := read_request(conn):
            seen.append(request.decode())
            conn.sendall(http_answer(b'{"success":true,"data":[]}'))

    client = account_at(serve(script).url)
    client.sessions()
    client.restart(7)
    client.message_logs(7, 3, 50)
    client.session_logs(7)
    assert [request.split(" HTTP/")[0] for request in seen] == [
        "GET /api/whatsapp-sessions",
        "POST /api/whatsapp-sessions/7/restart",
        "GET /api/whatsapp-sessions/7/message-logs?page=3&per_page=50",
        "GET /api/whatsapp-sessions/7/session-logs?page=1&per_page=100",
    ]
    assert all(f"Authorization: Bearer {PAT}\r\n" in request for request in seen)
    assert "Content-Length: 0\r\n" in seen[1]


def test_a_server_that_cannot_be_reached_is_told(account_at: OpenAccount) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    assert code(account_at(f"http://127.0.0.1:{port}").restart(7)) is ProblemCode.UNREACHABLE


def test_a_silent_server_is_left_in_time(account_at: OpenAccount, serve: Serve) -> None:
    client = account_at(serve(lambda conn: (read_request(conn), time.sleep(3))).url, timeout_s=0.2)
    started = time.monotonic()
    assert code(client.restart(7)) is ProblemCode.TIMEOUT
    assert time.monotonic() - started < 1.5


def test_an_answer_without_end_is_cut_off(account_at: OpenAccount, serve: Serve) -> None:
    endless = http_answer(b'{"success":true,"data":[' + b" " * 9_000_000)
    client = account_at(serve(answering(endless)).url, timeout_s=5)
    assert code(client.sessions()) is ProblemCode.UNREADABLE_ANSWER


def test_a_page_of_a_hundred_long_texts_is_read(account_at: OpenAccount, serve: Serve) -> None:
    content = json.dumps({"text": "ऀ" * 4096})
    rows = [{"id": str(n), "to": TO, "content": content, "status": "SENT"} for n in range(1, 101)]
    body = json.dumps({"success": True, "data": {"current_page": 1, "last_page": 1, "data": rows}}).encode()
    assert len(body) > 2_000_000
    page = account_at(serve(answering(http_answer(body))).url, timeout_s=5).message_logs(7)
    assert len(rows_of(page)) == 100


@pytest.mark.parametrize("token", ["", " ", "1|a\r\nX: y", "1|schlüssel", "1|\x00"])
def test_a_token_that_fits_no_header_never_leaves(account_at: OpenAccount, serve: Serve, token: str) -> None:
    server = serve(answering(http_answer(b"{}")))
    assert code(account_at(server.url, token).sessions()) is ProblemCode.BAD_ACCESS_TOKEN
    assert server.connections == 0


@pytest.mark.parametrize("status", ["200 OK", "401 Unauthorized", "422 Unprocessable", "429 Slow", "500 Oh"])
def test_an_echoed_token_reaches_no_log_and_no_result(
    account_at: OpenAccount, serve: Serve, status: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    body = json.dumps({"success": False, "message": f"unknown token {PAT.upper()} for {TO}", "error": PAT})
    client = account_at(serve(answering(http_answer(body.encode(), status, f"X-Echo: {PAT}"))).url)
    shown = [client.sessions(), client.restart(7), client.message_logs(7), client.session_logs(7), client]
    text = (repr(shown) + str(vars(client)) + caplog.text).lower()
    assert "sandbox-personal" not in text
    assert TO[1:] not in text


# --- shapes


def answer(body: object, status: int = 200) -> Answer:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Answer(status=status, headers={}, body=raw)


def success(data: object) -> Answer:
    return answer({"success": True, "data": data})


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (
            401,
            {"success": False, "message": "This endpoint requires a valid personal access token."},
            "bad_access_token",
        ),
        (401, {"success": False, "message": "Unnotarized"}, "bad_access_token"),
        (200, {"success": False, "message": "Invalid API key", "help": "x"}, "bad_access_token"),
        (403, {"success": False, "error": "You need an active subscription."}, "no_subscription"),
        (402, {}, "no_subscription"),
        (403, {"message": "This action is unauthorized."}, "unknown_session"),
        (404, {"message": "No query results for model [WhatsappSession] 7"}, "unknown_session"),
        (404, {"message": "The route api/whatsapp-sessions could not be found."}, "wrong_gateway_address"),
        (404, b"<html>nginx</html>", "wrong_gateway_address"),
        (405, {"message": "The POST method is not supported."}, "wrong_gateway_address"),
        (302, b"", "wrong_gateway_address"),
        (429, {"message": "Too Many Attempts.", "retry_after": 9}, "throttled"),
        (200, {"message": "rate limit", "success": False}, "throttled"),
        (422, {"success": False, "message": "Validation failed", "errors": {"page": ["No."]}}, "gateway_refused"),
        (409, {"success": False, "error": "Busy."}, "gateway_refused"),
        (400, b"<html>", "unreadable_answer"),
        (200, {"success": "true", "data": []}, "unreadable_answer"),
        (200, {"data": []}, "unreadable_answer"),
        (200, {"success": True}, "unreadable_answer"),
        (200, {"success": True, "data": "none"}, "unreadable_answer"),
        (204, b"", "unreadable_answer"),
        (408, b"", "gateway_error"),
        (520, b"<title>520: unknown error</title>", "gateway_error"),
        (500, {"success": True, "data": []}, "gateway_error"),
        (103, b"", "gateway_error"),
    ],
)
def test_whatever_is_not_an_answer_is_one_problem(status: int, body: object, expected: str) -> None:
    given_ = answer(body, status)
    assert code(read_sessions(given_, now=0)) == expected
    assert code(read_log_page(given_, now=0)) == expected
    assert code(read_session_log_page(given_, now=0, skew_s=None)) == expected


@pytest.mark.parametrize("status", [200, 400, 409, 422])
def test_a_restart_is_refused_in_words_under_any_status(status: int) -> None:
    said = "WhatsApp session is not connected. Cannot restart."
    for key in ("error", "message"):
        report = read_restart(answer({"success": False, key: said}, status), now=0)
        assert report == RestartReport(restarted=False, said=said)


@pytest.mark.parametrize(
    ("body", "expected"),
    [({}, "unreadable_answer"), (b"OK", "unreadable_answer"), ({"success": 1}, "unreadable_answer")],
)
def test_only_a_clear_yes_is_a_restart(body: object, expected: str) -> None:
    assert code(read_restart(answer(body), now=0)) == expected


def log_row(**given_: object) -> LogRow:
    row = {"id": "7", "to": TO, "content": '{"text":"Hello"}', "status": "sent"} | given_
    [read] = rows_of(read_log_page(success({"current_page": 1, "last_page": 1, "data": [row]}), now=0))
    return read


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ('{"text":"Hello"}', {"text": "Hello"}),
        ({"text": "Hello"}, {"text": "Hello"}),
        (json.dumps('{"text":"Hello"}'), {"text": "Hello"}),
        (json.dumps("Hello"), {"text": "Hello"}),
        ("Hello", {"text": "Hello"}),
        ("1001", {"text": "1001"}),
        ("[1]", {"text": "[1]"}),
        ("{broken", {"text": "{broken"}),
        ("[" * 100_000, {"text": "[" * 100_000}),
        ("{}", {}),
        ("[]", {}),
        (None, None),
        ("null", None),
        ("", None),
        (7, None),
    ],
)
def test_a_content_is_json_in_a_string_or_what_comes_close(content: object, expected: object) -> None:
    assert log_row(content=content).content == expected


def test_ids_statuses_and_times_come_in_many_spellings() -> None:
    row = log_row(id=2**40, status="IN PROGRESS", created_at="2023-10-27 10:30:15", whatever={"x": 1}, to=7)
    assert (row.id, row.status, row.to) == (2**40, "in_progress", None)
    assert row.created_at == datetime(2023, 10, 27, 10, 30, 15, tzinfo=UTC)
    reason = log_row(failed_reason=f"invalid WhatsApp number {TO}").failed_reason
    assert reason == "invalid WhatsApp number [number]"


@pytest.mark.parametrize(
    ("given_", "expected"),
    [
        ("2025-09-23T11:59:30.000000Z", datetime(2025, 9, 23, 11, 59, 30, tzinfo=UTC)),
        ("2025-09-23T17:29:30+05:30", datetime(2025, 9, 23, 11, 59, 30, tzinfo=UTC)),
        ("0001-01-01T00:00:00+14:00", None),
        ("9999-12-31 23:59:59", None),
        ("yesterday", None),
        ("2025" * 100, None),
        (1758628770, None),
        (None, None),
    ],
)
def test_a_moment_that_cannot_be_is_none(given_: object, expected: datetime | None) -> None:
    assert read_moment(given_) == expected


@pytest.mark.parametrize("bad", [{"id": None}, {"id": "x"}, {"id": 0}, {"id": True}, "row", None, []])
def test_a_row_that_cannot_be_read_spoils_its_page(bad: object) -> None:
    good = {"id": "7", "occurred_at": "2025-09-23T11:59:30Z", "status": "CONNECTED"}
    for rows in ([bad, good], [good, good | bad if isinstance(bad, dict) else bad]):
        page = success({"current_page": 1, "last_page": 1, "data": rows})
        assert code(read_log_page(page, now=0)) is ProblemCode.UNREADABLE_ANSWER
        assert code(read_session_log_page(page, now=0, skew_s=1.0)) is ProblemCode.UNREADABLE_ANSWER


def test_the_paginator_may_stand_elsewhere_or_be_missing() -> None:
    rows = [{"id": "7"}]
    paging = {"current_page": "2", "last_page": 3, "total": 9}
    for whole in (
        success({**paging, "data": rows}),
        answer({"success": True, "data": rows, **paging}),
        answer({"success": True, "data": rows, "meta": paging}),
    ):
        page = the(read_log_page(whole, now=0), LogPage)
        assert isinstance(page, LogPage)
        assert (page.current_page, page.last_page, page.total, len(page.rows)) == (2, 3, 9, 1)
    bare = read_log_page(success(rows), now=0)
    assert isinstance(bare, LogPage)
    assert (bare.current_page, bare.last_page, bare.total) == (None, None, None), "not even one page is claimed"


def test_sessions_are_read_as_far_as_they_can_be() -> None:
    rows = [
        {"id": "501", "name": "a\nb", "phone_number": None, "status": "NEED-SCAN", "log_messages": 1, "api_key": ""},
        {"name": "no id"},
        "nonsense",
        {"id": 502, "status": None, "account_protection": 0, "log_messages": "yes", "api_key": "k", "new": []},
    ]
    first, second = the(read_sessions(success(rows), now=0), tuple)  # type: ignore[misc]
    assert (first.id, first.name, first.status, first.log_messages, first.api_key) == (
        501,
        "a b",
        "need_scan",
        True,
        None,
    )
    assert (second.status, second.account_protection, second.log_messages) == ("", False, None)


@pytest.mark.parametrize(
    ("date", "expected"),
    [
        (formatdate(1_000_060, usegmt=True), 59.5),
        ("Mon, 12 Jan 1970 13:47:40 -0000", 59.5),
        ("Sun, 06 Nov 1994 08:49:37 GMT", None),
        ("tomorrow", None),
        ("Fri, 31 Dec 9999 23:59:59 GMT", None),
        ("", None),
        (None, None),
    ],
)
def test_the_gateways_clock_is_compared_with_ours(date: str | None, expected: float | None) -> None:
    assert read_skew_s(date, 1_000_000, 1_000_002) == expected


@settings(max_examples=300, deadline=None)
@given(
    st.integers(100, 599), bodies | json_values.map(lambda data: json.dumps({"success": True, "data": data}).encode())
)
def test_no_answer_makes_a_reader_raise(status: int, body: bytes) -> None:
    given_ = Answer(status=status, headers={}, body=body)
    assert isinstance(read_sessions(given_, now=0), tuple | Problem)
    assert isinstance(read_restart(given_, now=0), RestartReport | Problem)
    assert isinstance(read_log_page(given_, now=0), LogPage | Problem)
    assert isinstance(read_session_log_page(given_, now=0, skew_s=None), SessionLogPage | Problem)
