"""Examples in the API's description. Tests hold them against the models, and send them."""

from typing import Any

REQUEST: dict[str, Any] = {
    "to": "+91 70330 09600",
    "text": "Your order 4711 is on its way.",
    "crm_ref": "order-4711",
    "idempotency_key": "order-4711-shipped",
}

MESSAGE: dict[str, Any] = {
    "id": "019aa7b2-6d4e-4f0a-9d55-1f3a4c5b6d7e",
    "status": "sent",
    "state": "sent",
    "pending_reason": None,
    "to": "+91 70330 09600",
    "recipient": "+917033009600",
    "whatsapp_jid": None,
    "channel": "default",
    "kind": "text",
    "priority": "transactional",
    "attempts": 1,
    "resends": 0,
    "duplicates": 0,
    "attention": None,
    "gateway_msg_id": 4711,
    "error": None,
    "send_after": "2026-11-22T12:00:00Z",
    "expires_at": None,
    "created_at": "2026-11-22T12:00:00Z",
    "accepted_at": "2026-11-22T12:00:01.250000Z",
    "sent_at": "2026-11-22T12:00:02.500000Z",
    "delivered_at": None,
    "read_at": None,
    "crm_ref": "order-4711",
    "metadata": None,
}

REFUSED_ITEM: dict[str, Any] = {
    "error": {"code": "too_short", "message": "This number is too short to be a phone number."},
    "index": 1,
}

LIST: dict[str, Any] = {"messages": [MESSAGE], "next": None}

CHANGES: dict[str, Any] = {
    "messages": [MESSAGE | {"change": {"status": "sent", "at": "2026-11-22T12:00:02.500000Z", "seq": 42}}],
    "next": 42,
}
