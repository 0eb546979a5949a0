"""Whatever a caller sends: a usable request or one sentence about what is wrong, which repeats nothing private."""

import json
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st

from worker.domain.errors import InvalidRequest
from worker.domain.message_request import SendRequest, parse_request

any_text = st.text(st.characters(), max_size=30)
scalars = st.none() | st.booleans() | st.integers() | st.floats() | any_text | st.binary(max_size=8) | st.datetimes()
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(any_text | st.integers(), inner, max_size=4),
    max_leaves=12,
)
fields = st.sampled_from(sorted(SendRequest.model_fields))
likely = {
    "to": st.just("+917033009600"),
    "text": st.text(max_size=20),
    "metadata": st.dictionaries(any_text, values, max_size=4),
    "contact": st.dictionaries(st.sampled_from(["name", "phone", "x"]), values),
    "location": st.dictionaries(st.sampled_from(["latitude", "longitude", "name"]), values),
    "poll": st.dictionaries(st.sampled_from(["question", "options"]), values),
    "send_after": st.datetimes().map(lambda time: f"{time.isoformat()}+05:30"),
    "expires_at": st.datetimes().map(lambda time: f"{time.isoformat()}Z"),
}
requests = st.fixed_dictionaries({}, optional=likely)


def parsed(request: dict[Any, Any]) -> SendRequest | InvalidRequest:
    try:
        return parse_request(request)
    except InvalidRequest as refusal:
        return refusal


@settings(max_examples=120, deadline=None)
@given(request=requests, odd=st.dictionaries(fields | any_text | st.integers(), values, max_size=4))
@example(request={"text": "Hello", "to": "+917033009600"}, odd={})
def test_anything_is_a_request_or_invalid_request(request: dict[str, Any], odd: dict[Any, Any]) -> None:
    kept = parsed(request | odd)
    if isinstance(kept, InvalidRequest):
        # One sentence that can be stored, logged and shown.
        assert kept.message.endswith(".")
        assert kept.message.isprintable()
        assert kept.message.encode()
    else:
        stored = [kept.content, kept.metadata, kept.crm_ref, kept.idempotency_key]
        json.dumps(stored, allow_nan=False, ensure_ascii=False).encode()
        assert kept.fingerprint(None) == kept.model_copy().fingerprint(None)
        assert kept.kind


secrets = st.text("0123456789 abcdefXYZ+", min_size=9, max_size=30).filter(
    lambda text: any(c.isdigit() for c in text)
)


@settings(max_examples=80, deadline=None)
@given(secret=secrets, field=fields, data=st.data())
def test_a_refusal_repeats_neither_a_text_nor_a_number_nor_a_made_up_name(
    secret: str, field: str, data: st.DataObject
) -> None:
    wrapped = data.draw(
        st.sampled_from([secret, [secret], {secret: secret}, {"name": secret}, {"options": [secret]}])
    )
    for request in ({"to": secret, field: wrapped}, {"to": secret, "text": secret, secret: 1}):
        refusal = parsed(request)
        if isinstance(refusal, InvalidRequest):
            assert secret not in refusal.message
            assert secret.strip() not in refusal.message
