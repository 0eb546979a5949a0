"""The WaSender client: one pool of connections for all channels and sender threads, one POST per send.

It never retries and never raises for what a network or a server can do: every call ends in an `Outcome`,
a `MessageInfo` or a `ConnectionReport`. It keeps no key longer than a call.
"""

import time
from collections.abc import Callable, Mapping
from urllib.parse import quote

from urllib3.util import Timeout

from worker.domain.errors import InvalidRequest
from worker.domain.evidence import Connection, ConnectionReport, MessageInfo
from worker.domain.outcomes import Cause, Outcome
from worker.gateway.account import read_skew_s
from worker.gateway.answers import printable
from worker.gateway.classify import classify_send
from worker.gateway.failures import unknown_cause
from worker.gateway.lids import NO_ANSWER, LidAnswer, classify_lid
from worker.gateway.line import Answer, Line, fits_a_header, why_unconnected
from worker.gateway.media import Uploaded, classify_upload
from worker.gateway.numbers import NOT_KNOWN, NumberAnswer, classify_number
from worker.gateway.payload import build_payload
from worker.gateway.reports import classify_info, classify_status
from worker.gateway.wire import NeverConnected


class GatewayClient:
    """Speaks to one WaSender server. Safe to share between threads; make one per process (after a fork).

    `base_url` may lack the `/api` at its end. `connect_timeout_s` bounds connecting (with the look-up of the name),
    the TLS handshake and writing (a file longer, by its size), each of them; `read_timeout_s` the whole answer to a
    send, `question_timeout_s` that to a question (info, status): an answer to a send is worth waiting for, a
    question can be asked again.
    `ca_file` names a bundle of trusted certificates in place of certifi's. Proxies, netrc and certificates of the
    environment are not read. Raises `NotConfigured` for an unusable URL.
    """

    def __init__(
        self,
        base_url: str,
        *,
        connect_timeout_s: float = 5,
        read_timeout_s: float = 30,
        question_timeout_s: float = 5,
        pool_size: int = 32,
        ca_file: str | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._line = Line(base_url, pool_size=pool_size, ca_file=ca_file)
        self.base_url = self._line.base_url
        self._connect_timeout_s = connect_timeout_s
        self._send_timeout = Timeout(connect=connect_timeout_s, read=read_timeout_s)
        self._question_timeout = Timeout(connect=connect_timeout_s, read=min(question_timeout_s, read_timeout_s))
        self._now = now

    def __repr__(self) -> str:
        return f"GatewayClient({self.base_url!r})"

    def connect(self) -> Outcome | None:
        """Have a connection ready, which may take seconds, so that the send that follows is written at once.

        Returns what came of the send if none can be had, else None.
        """
        try:
            self._line.connect(self._connect_timeout_s)
        except NeverConnected as error:
            return Outcome(cause=Cause.UNREACHABLE, detail=why_unconnected(error))
        return None

    def send(self, api_key: str, recipient: str, content: Mapping[str, object]) -> Outcome:
        """Hand one message to WaSender: one POST, one outcome.

        `recipient` is E.164 or a JID, `content` the stored content (see `payload`).
        """
        if not fits_a_header(api_key):
            return Outcome(cause=Cause.BAD_KEY, detail="The key has characters that no key has.")
        try:
            body = build_payload(recipient, content)
        except InvalidRequest as error:
            return Outcome(cause=Cause.INVALID_REQUEST, detail=printable(error.message))
        try:
            answer = self._ask("POST", "/send-message", api_key, body)
            return classify_send(
                answer.status,
                answer.headers,
                answer.body,
                now=self._now(),
                flaw=answer.flaw,
                secrets=(api_key, recipient, recipient.lstrip("+")),
            )
        except NeverConnected as error:
            return Outcome(cause=Cause.UNREACHABLE, detail=why_unconnected(error))
        except Exception as error:  # whatever it is, the request may have been written
            return Outcome(cause=unknown_cause(error), detail=type(error).__name__)

    def upload(self, api_key: str, content: bytes, mime_type: str) -> Uploaded | Outcome:
        """Hand a file over, so that messages can name its address. Nothing is sent by it, whatever happens."""
        if not fits_a_header(api_key):
            return Outcome(cause=Cause.BAD_KEY, detail="The key has characters that no key has.")
        try:
            answer = self._line.ask(
                "POST", "/upload", api_key, timeout=self._send_timeout, body=content, content_type=mime_type
            )
        except NeverConnected as error:
            return Outcome(cause=Cause.UNREACHABLE, detail=why_unconnected(error))
        except Exception as error:  # no answer, so no address
            return Outcome(cause=Cause.MEDIA_NOT_UPLOADED, detail=type(error).__name__)
        return classify_upload(
            answer.status, answer.headers, answer.body, now=self._now(), flaw=answer.flaw, secrets=(api_key,)
        )

    def on_whatsapp(self, api_key: str, recipient: str) -> NumberAnswer:
        """Ask whether a number (E.164) is on WhatsApp. No answer is "not known", never "absent"."""
        if not fits_a_header(api_key):
            return NOT_KNOWN
        try:
            answer = self._ask("GET", f"/on-whatsapp/{quote(recipient, safe='')}", api_key)
            return classify_number(answer.status, answer.headers, answer.body, now=self._now(), flaw=answer.flaw)
        except Exception:  # nothing about the number is known by it
            return NOT_KNOWN

    def message_info(self, api_key: str, gateway_msg_id: int) -> MessageInfo:
        """Ask what became of an accepted message. No answer is "no information", never "failed"."""
        if not fits_a_header(api_key):
            return MessageInfo(ack=None, problem=Cause.BAD_KEY.value)
        try:
            answer = self._ask("GET", f"/messages/{gateway_msg_id:d}/info", api_key)
            return classify_info(answer.status, answer.body, gateway_msg_id=gateway_msg_id, flaw=answer.flaw)
        except NeverConnected:
            return MessageInfo(ack=None, problem=Cause.UNREACHABLE.value)
        except Exception as error:  # nothing about the message is known by it
            return MessageInfo(ack=None, problem=unknown_cause(error).value)

    def status(self, api_key: str) -> ConnectionReport:
        """Ask whether the session behind the key is connected. "Connected" is a hint, only a tick is proof."""
        return self.status_and_skew(api_key)[0]

    def status_and_skew(self, api_key: str) -> tuple[ConnectionReport, float | None]:
        """The same, and the gateway's clock minus ours in seconds, by its answer's date; None without one."""
        if not fits_a_header(api_key):
            return ConnectionReport(connection=Connection.REFUSED, word=Cause.BAD_KEY.value), None
        asked_at = self._now()
        try:
            answer = self._ask("GET", "/status", api_key)
            report = classify_status(answer.status, answer.body, flaw=answer.flaw, secrets=(api_key,))
            return report, read_skew_s(answer.headers.get("Date"), asked_at, self._now())
        except NeverConnected:
            return ConnectionReport(connection=Connection.UNVERIFIED, word=Cause.UNREACHABLE.value), None
        except Exception as error:  # nothing about the session is known by it
            return ConnectionReport(connection=Connection.UNVERIFIED, word=unknown_cause(error).value), None

    def number_of(self, api_key: str, lid: str) -> LidAnswer:
        """Ask for the number behind a LID (`<digits>@lid`). WaSender may not know it."""
        if not fits_a_header(api_key):
            return NO_ANSWER
        try:
            answer = self._ask("GET", f"/pn-from-lid/{quote(lid, safe='@')}", api_key)
            return classify_lid(answer.status, answer.body, flaw=answer.flaw)
        except Exception:  # nothing about the person is known by it
            return NO_ANSWER

    def close(self) -> None:
        """Close the idle connections. A request in flight still gets its answer."""
        self._line.close()

    def _ask(self, method: str, path: str, api_key: str, body: bytes | None = None) -> Answer:
        timeout = self._question_timeout if body is None else self._send_timeout
        return self._line.ask(method, path, api_key, timeout=timeout, body=body)
