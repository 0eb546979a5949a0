"""Whatever arrives as a webhook: facts that are bounded and hold no secret, or a refusal, and nothing else."""

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.gateway.strategies import json_values
from worker.domain.errors import InvalidRequest
from worker.domain.opt_out import START_WORDS, STOP_WORDS, WishWords
from worker.domain.webhook_fact import Fact, from_said, to_said
from worker.gateway.webhooks import read_webhook

SESSION_KEY = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"

WORDS = WishWords.of(STOP_WORDS, START_WORDS)

_ids = st.sampled_from(["3EB0A1B2", SESSION_KEY, f"a{SESSION_KEY}".upper(), "3EB0\ud800", "\u0000", "3" * 200])
_jids = st.sampled_from(["917033009600@s.whatsapp.net", "+917033009600", "5@lid", "12345@g.us", SESSION_KEY])
_words = st.sampled_from(["Hello", SESSION_KEY, f"no +{SESSION_KEY}", "Invalid +917033009600", "\ud800", "", "STOP!"])
_keys = st.fixed_dictionaries(
    {"id": _ids, "remoteJid": _jids, "fromMe": st.booleans()},
    optional={"cleanedSenderPn": _jids | json_values, "senderPn": _jids, "senderLid": _jids | json_values},
)
_messages = st.recursive(
    st.dictionaries(st.sampled_from(["conversation", "extendedTextMessage", "protocolMessage"]), _words, max_size=2)
    | st.fixed_dictionaries({"imageMessage": st.fixed_dictionaries({"caption": _words})}),
    lambda inner: st.fixed_dictionaries({"ephemeralMessage": st.fixed_dictionaries({"message": inner})}),
    max_leaves=8,
)
#: Near enough to the real thing to give facts, and wrong in every place.
_entries = st.fixed_dictionaries(
    {"key": _keys, "update": st.fixed_dictionaries({"status": st.integers(-1, 6) | _words})},
    optional={
        "message": _messages | json_values,
        "messageBody": _words | json_values,
        "success": st.booleans() | json_values,
        "error": _words,
        "msgId": st.integers() | json_values,
        "messageTimestamp": st.integers() | json_values,
        "status": _words,
    },
)
near = st.fixed_dictionaries(
    {
        "event": st.sampled_from(
            ["messages.update", "message.sent", "messages.upsert", "session.status", "messages.received"]
        ),
        "data": _entries | st.lists(_entries | json_values, max_size=3),
    },
    optional={"timestamp": json_values},
)
far = st.fixed_dictionaries({"event": st.just("messages.upsert") | json_values, "data": json_values})


def facts_or_refusal(given_body: bytes) -> tuple[Fact, ...]:
    try:
        return read_webhook(given_body, WORDS)
    except InvalidRequest:
        return ()


@settings(max_examples=600, deadline=None)
@given(webhook=near | far)
def test_whatever_a_webhook_holds_its_facts_are_bounded_and_without_credentials(webhook: dict[str, Any]) -> None:
    for fact in facts_or_refusal(json.dumps(webhook | {"sessionId": SESSION_KEY}).encode()):
        said = json.dumps(to_said(fact))
        assert SESSION_KEY not in said.lower()
        assert "Hello" not in said
        assert len(said) < 600
        assert "\\u0000" not in said
        assert "\\ud800" not in said
        assert from_said(fact.kind, json.loads(said)) == fact


@settings(max_examples=300, deadline=None)
@given(given_body=st.binary(max_size=200) | json_values.map(lambda value: json.dumps(value).encode()))
def test_no_bytes_are_more_than_a_refusal(given_body: bytes) -> None:
    facts_or_refusal(given_body)
