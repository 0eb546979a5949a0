"""What WaSender says when it is asked: message info and session status, translated into our evidence.

Unknown words stay raw and are never fatal; an answer that is not understood is "no information". Pure.
"""

from collections.abc import Iterable, Mapping

from worker.domain.evidence import Ack, Connection, ConnectionReport, MessageInfo
from worker.domain.outcomes import Cause
from worker.gateway.answers import printable, read_id, read_object, redacted
from worker.gateway.classify import worded_cause

#: `problem` of a `MessageInfo` when WaSender has nothing to tell about this id (contract 10, rows 5 to 7).
NO_INFORMATION = "no_information"
#: `problem` when WaSender knows the message but not (or not in our words) how far it got.
NO_STATUS = "no_status"

_ID_LIMIT = 128
_WORD_LIMIT = 40

#: Delivery words of the SDKs (S-ts, S-py) and of Baileys, whose codes WaSender passes on (contract 6).
_ACK_WORDS = {
    "error": Ack.ERROR,
    "pending": Ack.PENDING,
    "sent": Ack.SERVER,
    "server_ack": Ack.SERVER,
    "delivered": Ack.DEVICE,
    "delivery_ack": Ack.DEVICE,
    "read": Ack.READ,
    "played": Ack.PLAYED,
}

#: Session states in which nothing can be sent (contract 5).
_NOT_CONNECTED_WORDS = frozenset(
    ("connecting", "disconnected", "need_scan", "need_passkey", "logged_out", "expired", "error")
)


def read_ack(value: object) -> Ack | None:
    """Give the acknowledgement in `value`: 0 to 5 as integer or numeric string, or a word in any case."""
    if isinstance(value, str):
        word = value.strip().lower()
        if word in _ACK_WORDS:
            return _ACK_WORDS[word]
        value = int(word) if len(word) == 1 and word in "012345" else None
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= 5:
        return Ack(value)
    return None


def classify_info(status: int, body: bytes, *, gateway_msg_id: int, flaw: Cause | None = None) -> MessageInfo:
    """Read the answer of `GET /messages/{gateway_msg_id}/info`; an answer about another message is refused."""
    answer = read_object(body) if flaw is None else None
    if answer is None or not 200 <= status < 300:
        return _no_ack(_info_problem(status, answer, flaw))
    if answer.get("success") is False:
        return _no_ack(worded_cause(answer) or NO_INFORMATION)
    data = answer.get("data")
    if answer.get("success") is not True or not isinstance(data, dict):
        return _no_ack(Cause.UNREADABLE_ANSWER)
    if "msgId" in data and read_id(data["msgId"]) != gateway_msg_id:
        return _no_ack(Cause.UNREADABLE_ANSWER)
    key = data.get("key")
    key = key if isinstance(key, dict) else {}
    ack = read_ack(data.get("status"))
    return MessageInfo(
        ack=ack,
        whatsapp_key_id=_word(key.get("id"), _ID_LIMIT) or _word(data.get("id"), _ID_LIMIT),
        whatsapp_jid=_word(key.get("remoteJid"), _ID_LIMIT) or _word(data.get("remoteJid"), _ID_LIMIT),
        problem=None if ack is not None else NO_STATUS,
    )


def classify_status(
    status: int, body: bytes, *, flaw: Cause | None = None, secrets: Iterable[str] = ()
) -> ConnectionReport:
    """Read the answer of `GET /status`: `status` or `data.status`, in any case; only a 2xx proves "connected"."""
    if 300 <= status < 400:
        return _report(Connection.UNVERIFIED, Cause.WRONG_ADDRESS)
    if status == 408 or not 200 <= status < 500:
        return _report(Connection.UNVERIFIED, Cause.SERVER_ERROR)
    answer = (read_object(body) if flaw is None else None) or {}
    data = answer.get("data")
    raw = _word(answer.get("status"), 200) or (_word(data.get("status"), 200) if isinstance(data, dict) else None)
    word = raw.lower().replace(" ", "_").replace("-", "_") if raw else ""
    succeeded = status < 300 and answer.get("success", True) is True
    if word in _NOT_CONNECTED_WORDS:
        return _report(Connection.NOT_CONNECTED, word)
    if succeeded and word == "connected":
        return _report(Connection.CONNECTED, word)
    if succeeded and raw:
        return _report(Connection.NOT_CONNECTED, printable(redacted(raw, secrets), _WORD_LIMIT))
    return _refusal(status, answer, flaw)


def _refusal(status: int, answer: Mapping[str, object], flaw: Cause | None) -> ConnectionReport:
    """Read a status answer that names no state: the key, the plan or the server is in the way."""
    worded = worded_cause(answer)
    if worded is Cause.CHANNEL_DOWN:
        return _report(Connection.NOT_CONNECTED, "disconnected")
    if worded in (Cause.BAD_KEY, Cause.WRONG_CREDENTIAL, Cause.NO_SUBSCRIPTION):
        return _report(Connection.REFUSED, worded)
    if status == 429 or worded is Cause.THROTTLED:
        return _report(Connection.UNVERIFIED, Cause.THROTTLED)
    if status == 401:
        return _report(Connection.REFUSED, Cause.BAD_KEY)
    if answer and status in (402, 403):
        return _report(Connection.REFUSED, Cause.NO_SUBSCRIPTION)
    if status == 404:
        return _report(Connection.UNVERIFIED, Cause.WRONG_ADDRESS)
    return _report(Connection.UNVERIFIED, flaw or Cause.UNREADABLE_ANSWER)


def _info_problem(status: int, answer: Mapping[str, object] | None, flaw: Cause | None) -> str:
    worded = worded_cause(answer) if answer is not None else None
    if status == 401:
        return Cause.WRONG_CREDENTIAL if worded is Cause.WRONG_CREDENTIAL else Cause.BAD_KEY
    if status == 429:
        return Cause.THROTTLED
    if 300 <= status < 400:
        return Cause.WRONG_ADDRESS
    if status == 408 or not 200 <= status < 500:
        return Cause.SERVER_ERROR
    if status >= 400:
        return worded or NO_INFORMATION
    return flaw or Cause.UNREADABLE_ANSWER


def _no_ack(problem: str) -> MessageInfo:
    return MessageInfo(ack=None, problem=str(problem))


def _report(connection: Connection, word: str) -> ConnectionReport:
    return ConnectionReport(connection=connection, word=str(word))


def _word(value: object, limit: int) -> str | None:
    return printable(value, limit) or None if isinstance(value, str) else None
