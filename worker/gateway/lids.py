"""The number behind a LID, WhatsApp's private id of a person, as WaSender tells it (contract 4.15). Pure.

WaSender may not know it, which is an answer; everything that is not understood is none.
"""

from dataclasses import dataclass, field

from worker.domain.outcomes import Cause
from worker.gateway.answers import read_object
from worker.gateway.classify import worded_cause
from worker.gateway.whatsapp_objects import as_id, as_object, recipient_of

#: Where the SDKs and the documentation have the number.
_PLACES = ("pn", "phone", "phoneNumber", "jid", "id")


@dataclass(frozen=True, kw_only=True)
class LidAnswer:
    """`answered` without a number: WaSender does not know it, and asking again soon is in vain."""

    number: str | None = field(default=None, repr=False)
    answered: bool


NO_ANSWER = LidAnswer(answered=False)


def classify_lid(status: int, body: bytes, *, flaw: Cause | None = None) -> LidAnswer:
    """Read the answer of `GET /pn-from-lid/{lid}`."""
    answer = read_object(body) if flaw is None else None
    if answer is None:
        return NO_ANSWER
    if 200 <= status < 300 and answer.get("success") is True:
        data = answer.get("data")
        told = [as_object(data).get(place) for place in _PLACES] if isinstance(data, dict) else [data]
        ids = (as_id(value) for value in told)
        numbers = (recipient_of(jid) for jid in ids if jid is not None)
        number = next((number for number in numbers if number is not None and number.startswith("+")), None)
        return LidAnswer(number=number, answered=True)
    # A session that is not connected, a bad key or a limit says nothing about the LID.
    unknown = status in {404, 422} and answer.get("success") is False and worded_cause(answer) is None
    return LidAnswer(answered=True) if unknown else NO_ANSWER
