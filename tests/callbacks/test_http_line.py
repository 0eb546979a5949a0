"""What each kind of answer, and each way of not answering, means for a callback; and what is said of it."""

import ssl
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import pytest
from pydantic import SecretStr

from tests.callbacks.receiver import SECRET, Receiver, answering, babbling, resetting
from tests.gateway.test_dialling import hanging_until
from worker.callbacks import delivery
from worker.callbacks.addresses import HttpAddress, parse_address
from worker.callbacks.breaker import Verdict
from worker.callbacks.http_line import CONNECT_TIMEOUT_S, READ_TIMEOUT_S, HttpLine
from worker.callbacks.payload import trial_letter
from worker.gateway import dialling

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
PAGE = b"\n <!DOCTYPE html><html><body>Please log in</body></html>"


def tell(url: str, *, ca_file: str | None = None) -> Verdict:
    address = parse_address(url)
    assert isinstance(address, HttpAddress)
    line = HttpLine(address, SecretStr(SECRET), connect_timeout_s=0.5, read_timeout_s=0.4, ca_file=ca_file)
    try:
        return line.tell(trial_letter("crm", NOW), NOW)
    finally:
        line.close()


@pytest.mark.parametrize("status", [200, 201, 202, 204, 206])
def test_any_2xx_is_a_delivery(receiver: Receiver, status: int) -> None:
    receiver.behave = lambda _: answering(status, b"" if status == 204 else b"ok", Content_Type="text/html")
    assert tell(receiver.url).is_delivered


def test_a_delivery_with_an_endless_or_missing_body_is_one_all_the_same(receiver: Receiver) -> None:
    receiver.behave = lambda _: answering(200, b"x" * 10_000_000)
    assert tell(receiver.url).is_delivered
    receiver.behave = lambda _: answering(200, b"", Content_Encoding="gzip")
    assert tell(receiver.url).is_delivered


@pytest.mark.parametrize(
    ("status", "body", "said"),
    [
        (500, b"Internal Server Error: +917033000001", "answered 500."),
        (500, b"x" * 10_000_000, "answered 500."),
        (404, PAGE, "answered 404."),
        (200, PAGE, "answered 200 with a web page"),
        (302, b"", "answered 302, a redirect"),
        (429, b"", "answered 429."),
    ],
)
def test_anything_else_is_a_failure_that_says_so_in_a_sentence(
    receiver: Receiver, status: int, body: bytes, said: str
) -> None:
    receiver.behave = lambda _: answering(status, body, Location="/elsewhere")

    verdict = tell(receiver.url)

    assert said in (verdict.problem or "")
    assert (verdict.problem or "").startswith(f"http://127.0.0.1:{receiver.port} ")
    assert not verdict.is_final
    # Neither what came back nor the address's path is repeated, and no redirect is followed.
    assert "917033" not in str(verdict)
    assert "of-the-path" not in str(verdict)
    assert len(receiver.heard) == 1


def test_410_is_final(receiver: Receiver) -> None:
    receiver.behave = lambda _: answering(410)
    assert tell(receiver.url).is_final


def test_an_endpoint_that_hangs_or_trickles_is_given_up_in_time(receiver: Receiver) -> None:
    receiver.gate.clear()
    for behaviour in (receiver.hanging, receiver.trickling):
        receiver.behave = lambda _, behaviour=behaviour: behaviour  # type: ignore[misc]
        began = time.monotonic()
        verdict = tell(receiver.url)
        assert "did not answer within 0.4 s" in (verdict.problem or "")
        assert time.monotonic() - began < 2


def test_resets_nonsense_and_silence_on_the_port_are_failures(receiver: Receiver) -> None:
    for behaviour in (resetting, babbling):
        receiver.behave = lambda _, behaviour=behaviour: behaviour  # type: ignore[misc]
        assert "broke the connection" in (tell(receiver.url).problem or "")
    receiver.down()
    assert "took no connection" in (tell(receiver.url).problem or "")


def test_a_name_that_does_not_exist_is_a_failure() -> None:
    assert "cannot be looked up" in (tell("http://truetick.invalid/hook").problem or "")


def test_a_resolver_that_hangs_is_given_up_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    answered = threading.Event()
    monkeypatch.setattr(dialling, "_ask_system", hanging_until(answered))
    began = time.monotonic()

    verdict = tell("http://crm.example/hook")

    answered.set()
    assert time.monotonic() - began < 2
    assert "has a name that could not be looked up within 0.5 s" in (verdict.problem or "")


def test_no_call_outlasts_what_is_left_of_a_lease_that_is_renewed() -> None:
    assert delivery.LONGEST_CALL < delivery.RENEW_BELOW < delivery.LEASE
    assert delivery.LONGEST_CALL.total_seconds() > 3 * CONNECT_TIMEOUT_S + READ_TIMEOUT_S


def test_a_certificate_has_to_be_trusted(
    receivers: Callable[..., Receiver], certificate: Path, server_tls: ssl.SSLContext
) -> None:
    receiver = receivers(tls=server_tls)

    assert "certificate that cannot be trusted" in (tell(receiver.url).problem or "")
    assert "does not speak TLS" in (tell(receivers().url.replace("http:", "https:")).problem or "")
    assert receiver.heard == []
    assert tell(receiver.url, ca_file=str(certificate)).is_delivered


@pytest.mark.parametrize(
    ("told", "seconds"),
    [
        ("120", 120.0),
        (format_datetime(NOW + timedelta(minutes=5), usegmt=True), 300.0),
        (format_datetime(NOW - timedelta(minutes=5), usegmt=True), 0.0),
        ("soon", 0.0),
        ("-1", 0.0),
        ("٣", 0.0),
        ("9" * 400, 999_999_999.0),
    ],
)
def test_retry_after_is_read_in_both_its_forms(receiver: Receiver, told: str, seconds: float) -> None:
    receiver.behave = lambda _: answering(503, b"", Retry_After=told.encode().decode("latin-1"))
    assert tell(receiver.url).retry_after_s == seconds
