"""The account's client: what a personal access token can ask and do, over the same kind of line as sends.

It never retries and never raises for what a network or a server can do: every call ends in its result or a `Problem`.
Nothing here decides about a message or a channel.
"""

import time
from collections.abc import Callable
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Final

from pydantic import SecretStr
from urllib3.util import Timeout

from worker.domain.account import LogPage, Problem, ProblemCode, RestartReport, SessionLogPage, SessionView
from worker.domain.linking import ConnectReport
from worker.gateway.account_problems import flaw_code
from worker.gateway.account_reports import read_log_page, read_restart, read_session_log_page, read_sessions
from worker.gateway.failures import unknown_cause
from worker.gateway.line import Answer, Line, fits_a_header, why_unconnected
from worker.gateway.linking_reports import read_connect, read_new_key, read_qr_code
from worker.gateway.wire import NeverConnected

#: A hundred of the longest texts, with every letter escaped twice, have less than 6 MB.
MAX_ACCOUNT_ANSWER_BYTES: Final = 8 * 1024 * 1024
#: WaSender's own default is 10; how many it gives at most is not documented.
ROWS_PER_PAGE: Final = 100
#: How long WaSender may take to start a session or to make a key, in seconds.
PATIENCE_S: Final = 30.0
#: A date that is further off is some cache's or nonsense, not the gateway's clock.
MAX_SKEW_S: Final = 86_400.0


class AccountClient:
    """Asks one WaSender account. Safe to share between threads; make one per process (after a fork).

    `base_url` may lack the `/api` at its end; raises `NotConfigured` for an unusable one. `timeout_s` bounds a whole
    answer, connecting aside. `now` gives our Unix time: the gateway's clock is compared with it.
    """

    def __init__(
        self,
        base_url: str,
        token: SecretStr,
        *,
        connect_timeout_s: float = 5,
        timeout_s: float = 10,
        pool_size: int = 4,
        ca_file: str | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._line = Line(base_url, pool_size=pool_size, ca_file=ca_file)
        self._token = token
        self._timeout = Timeout(connect=connect_timeout_s, read=timeout_s)
        #: A session that starts, or whose key changes, is worth waiting for: nobody can tell what a lost answer said.
        self._patient = Timeout(connect=connect_timeout_s, read=max(timeout_s, PATIENCE_S))
        self._now = now

    def __repr__(self) -> str:
        return f"AccountClient({self._line.base_url!r})"

    def sessions(self) -> tuple[SessionView, ...] | Problem:
        """List all sessions of the account, with their keys."""
        answer = self._ask("GET", "/whatsapp-sessions")
        if isinstance(answer, Problem):
            return answer
        return read_sessions(answer, now=self._now(), secrets=self._secrets)

    def restart(self, session_id: int) -> RestartReport | Problem:
        """Restart a session that is connected. After `timeout` or `connection_lost` it may have restarted too."""
        answer = self._ask("POST", f"/whatsapp-sessions/{session_id:d}/restart")
        if isinstance(answer, Problem):
            return answer
        return read_restart(answer, now=self._now(), secrets=self._secrets)

    def connect(self, session_id: int) -> ConnectReport | Problem:
        """Have a session connect, by a QR code where a phone has to be linked. Harmless when it is connected."""
        body = b'{"linkMethod":"qr"}'
        answer = self._ask("POST", f"/whatsapp-sessions/{session_id:d}/connect", patient=True, body=body)
        if isinstance(answer, Problem):
            return answer
        return read_connect(answer, now=self._now(), secrets=self._secrets)

    def qr_code(self, session_id: int) -> SecretStr | Problem:
        """A fresh QR code of a session that waits to be scanned; ask no more often than every 15 seconds."""
        answer = self._ask("GET", f"/whatsapp-sessions/{session_id:d}/qrcode")
        if isinstance(answer, Problem):
            return answer
        return read_qr_code(answer, now=self._now(), secrets=self._secrets)

    def regenerate_key(self, session_id: int) -> SecretStr | Problem:
        """Give a session another API key; the former one dies at once. After `timeout`, `connection_lost`,
        `gateway_error` or `unreadable_answer` it may have another one too.
        """
        answer = self._ask("POST", f"/whatsapp-sessions/{session_id:d}/regenerate-key", patient=True)
        if isinstance(answer, Problem):
            return answer
        return read_new_key(answer, now=self._now(), secrets=self._secrets)

    def message_logs(self, session_id: int, page: int = 1, per_page: int = ROWS_PER_PAGE) -> LogPage | Problem:
        """Read one page, the first is 1, of the messages that were sent through the API."""
        path = f"/whatsapp-sessions/{session_id:d}/message-logs?page={page:d}&per_page={per_page:d}"
        answer = self._ask("GET", path)
        if isinstance(answer, Problem):
            return answer
        return read_log_page(answer, now=self._now(), secrets=self._secrets)

    def session_logs(self, session_id: int, page: int = 1, per_page: int = ROWS_PER_PAGE) -> SessionLogPage | Problem:
        """Read one page, the first is 1, of what happened to the session, and how far the gateway's clock is off."""
        path = f"/whatsapp-sessions/{session_id:d}/session-logs?page={page:d}&per_page={per_page:d}"
        asked_at = self._now()
        answer = self._ask("GET", path)
        if isinstance(answer, Problem):
            return answer
        skew_s = read_skew_s(answer.headers.get("Date"), asked_at, self._now())
        return read_session_log_page(answer, now=self._now(), skew_s=skew_s, secrets=self._secrets)

    def close(self) -> None:
        """Close the idle connections. A request in flight still gets its answer."""
        self._line.close()

    @property
    def _secrets(self) -> tuple[str, ...]:
        return (self._token.get_secret_value(),)

    def _ask(self, method: str, path: str, *, patient: bool = False, body: bytes | None = None) -> Answer | Problem:
        token = self._token.get_secret_value()
        if not fits_a_header(token):
            detail = "The personal access token has characters that no token has."
            return Problem(code=ProblemCode.BAD_ACCESS_TOKEN, detail=detail)
        try:
            timeout = self._patient if patient else self._timeout
            return self._line.ask(
                method, path, token, timeout=timeout, body=body, most_bytes=MAX_ACCOUNT_ANSWER_BYTES
            )
        except NeverConnected as error:
            return Problem(code=ProblemCode.UNREACHABLE, detail=why_unconnected(error))
        except Exception as error:  # the request may have been written
            return Problem(code=flaw_code(unknown_cause(error)), detail=type(error).__name__)


def read_skew_s(date: str | None, asked_at: float, answered_at: float) -> float | None:
    """Give the gateway's clock minus ours, from its `Date` header, which counts whole seconds; None without one.

    `asked_at` and `answered_at` are our Unix time around the request; the date is taken to be half-way between.
    """
    if date is None:
        return None
    try:
        moment = parsedate_to_datetime(date)
        said = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError, TypeError, IndexError):
        return None
    skew_s = said + 0.5 - (asked_at + answered_at) / 2
    return skew_s if abs(skew_s) <= MAX_SKEW_S else None
