"""Webhooks from nobody we know: forged, broken, oversized. They must change nothing; the answers are evidence."""

import json
import random

import requests

from tests.chaos.place import Place
from wasender_sandbox.records import LedgerEntry

HEADER = "X-Webhook-Signature"
#: Above the bound of 256 kB.
HUGE = b'{"event":"' + b"x" * 400_000 + b'"}'


def hostile_webhooks(place: Place, rng: random.Random, pending: list[LedgerEntry]) -> list[int]:
    """One round of them; returns the HTTP statuses. Where nobody is at home (a killed web server) there is none."""
    channel = rng.choice(place.channels)
    theirs, forged = {HEADER: place.secrets[channel]}, {HEADER: rng.randbytes(16).hex()}
    posts: list[tuple[str, bytes, dict[str, str]]] = [
        (channel, b"", theirs),
        (channel, b"not JSON at all \xff\xfe", theirs),
        (channel, b"[" * 50_000, theirs),
        (channel, b'["a list"]', theirs),
        (channel, HUGE, theirs),
        (channel, b"{}", {}),
        ("no-such-channel", b"{}", forged),
        (channel, json.dumps({"event": "session.status", "data": {"status": "logged_out"}}).encode(), forged),
    ]
    posts += [(entry.channel, _delivered(entry), forged) for entry in pending[:5]]
    rng.shuffle(posts)
    answers = (_post(place, *post) for post in posts)
    return [status for status in answers if status is not None]


def _delivered(entry: LedgerEntry) -> bytes:
    """A tick that WhatsApp never gave."""
    update = {"status": 3}
    key = {"id": entry.key_id, "fromMe": True, "remoteJid": f"{entry.recipient.lstrip('+')}@s.whatsapp.net"}
    data = {"update": update, "key": key, "msgId": entry.msg_id}
    return json.dumps({"event": "messages.update", "timestamp": 1, "data": data}).encode()


def _post(place: Place, channel: str, body: bytes, headers: dict[str, str]) -> int | None:
    try:
        return requests.post(
            f"{place.web_url}/webhooks/wasender/{channel}",
            data=body,
            headers={"Content-Type": "application/json", **headers},
            timeout=10,
        ).status_code
    except requests.RequestException:
        return None
