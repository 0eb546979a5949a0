"""The bodies of webhook events, in every documented shape. Builds data only; `webhooks` sends it."""

from typing import Any

from wasender_sandbox.channels import Channel
from wasender_sandbox.ledger import STATUS_WORDS, Entry
from wasender_sandbox.switches import Switches

#: Media field of a posted body to the name of its Baileys message object.
_BAILEYS = {
    "imageUrl": "imageMessage",
    "videoUrl": "videoMessage",
    "documentUrl": "documentMessage",
    "audioUrl": "audioMessage",
    "stickerUrl": "stickerMessage",
}


def envelope(
    switches: Switches, channel: Channel, event: str, data: object, now: float, unit: str | None
) -> dict[str, Any]:
    """`{event, sessionId, timestamp?, data}`; `unit` is the sample's own: seconds, ms or None for no timestamp."""
    body: dict[str, Any] = {"event": event, "sessionId": channel.api_key}
    if switches.webhook_timestamp != "documented":
        unit = switches.webhook_timestamp
    if unit == "seconds":
        body["timestamp"] = int(now)
    elif unit == "ms":
        body["timestamp"] = int(now * 1000)
    body["data"] = data
    return body


def update_data(switches: Switches, entry: Entry, code: int) -> object:
    """`data` of messages.update: one object or an array of them. `fromMe` is false, as in the documented sample."""
    status: object = code
    if switches.update_status_type == "string":
        status = str(code)
    elif switches.update_status_type == "word":
        status = STATUS_WORDS[code]
    key = {"remoteJid": remote_jid(switches, entry), "id": entry.key_id, "fromMe": False}
    one = {"update": {"status": status}, "key": key}
    return [one] if switches.update_shape == "array" else one


def sent_data(switches: Switches, entry: Entry) -> dict[str, Any]:
    """`data` of a good message.sent; its remoteJid is the number with a plus, not a JID."""
    jid = entry.recipient if switches.webhook_remote_jid == "pn" else remote_jid(switches, entry)
    data: dict[str, Any] = {
        "key": {"id": entry.key_id, "fromMe": True, "remoteJid": jid},
        "message": baileys_message(entry),
        "success": True,
    }
    if switches.message_sent_msg_id:
        data["msgId"] = entry.msg_id
    return data


def failed_data(entry: Entry) -> dict[str, Any]:
    """`data` of a failed message.sent: no key, no msgId, only the number inside the text."""
    return {"success": False, "error": f"Failed to send message: Invalid number JID: {entry.recipient}"}


def upsert_data(switches: Switches, entry: Entry, now: float) -> dict[str, Any]:
    """`data` of messages.upsert for an own message."""
    message = {
        "key": {"id": entry.key_id, "fromMe": True, "remoteJid": remote_jid(switches, entry)},
        "messageTimestamp": int(now),
        "messageBody": entry.text or "",
        "message": baileys_message(entry),
    }
    return {"messages": [message] if switches.upsert_shape == "array" else message}


def inbound_data(sender_digits: str, text: str, key_id: str, now: float, *, as_lid: bool) -> dict[str, Any]:
    """`data` of a message that a person sent to the channel; a LID sender keeps its number in senderPn."""
    pn = f"{sender_digits}@s.whatsapp.net"
    lid = lid_of(sender_digits)
    return {
        "messages": {
            "key": {
                "id": key_id,
                "fromMe": False,
                "remoteJid": lid if as_lid else pn,
                "addressingMode": "lid" if as_lid else "pn",
                "senderPn": pn,
                "cleanedSenderPn": sender_digits,
                "senderLid": lid,
            },
            "pushName": "Sandbox contact",
            "messageTimestamp": int(now),
            "messageBody": text,
            "message": {"conversation": text},
        }
    }


def baileys_message(entry: Entry) -> dict[str, Any]:
    """The posted body as the message object WhatsApp libraries show."""
    posted = entry.payload
    text = entry.edited_text or posted.get("text")
    for name, shown in _BAILEYS.items():
        if posted.get(name):
            return {shown: {"url": posted[name], "caption": text}}
    if posted.get("contact"):
        return {"contactMessage": {"displayName": posted["contact"].get("name")}}
    if location := posted.get("location"):
        degrees = {"degreesLatitude": location["latitude"], "degreesLongitude": location["longitude"]}
        return {"locationMessage": degrees | {"name": location.get("name")}}
    if poll := posted.get("poll"):
        options = [{"optionName": option} for option in poll["options"]]
        return {"pollCreationMessage": {"name": poll["question"], "options": options}}
    return {"conversation": text}


def remote_jid(switches: Switches, entry: Entry) -> str:
    if not entry.recipient_jid.endswith("@s.whatsapp.net"):
        return entry.recipient_jid
    if switches.webhook_remote_jid == "lid":
        return lid_of(entry.recipient_jid.partition("@")[0])
    return entry.recipient if switches.webhook_remote_jid == "e164" else entry.recipient_jid


#: A LID is derived from the number by a reversible rule, so that lookups need no table.
_LID_FACTOR, _LID_MODULUS = 7_919, 10**17 + 3


def lid_of(digits: str) -> str:
    """The LID of a number in this sandbox."""
    return f"{int(digits) * _LID_FACTOR % _LID_MODULUS}@lid"


def number_of(lid: str) -> str | None:
    """Digits of the number behind a LID made by `lid_of`; None for any other LID."""
    digits = lid.partition("@")[0]
    if not digits.isdigit():
        return None
    number = str(int(digits) * pow(_LID_FACTOR, -1, _LID_MODULUS) % _LID_MODULUS)
    return number if 5 <= len(number) <= 16 and lid_of(number).startswith(digits) else None
