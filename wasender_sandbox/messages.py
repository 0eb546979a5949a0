"""What a body posted to /send-message must look like: one endpoint for all types, told by the field present."""

from typing import Any

from wasender_sandbox import replies
from wasender_sandbox.recipients import Recipient, read_recipient
from wasender_sandbox.switches import Switches

#: Field to message type, in order of precedence; text comes last because it is a caption beside the others.
TYPES = {
    "imageUrl": "image",
    "videoUrl": "video",
    "documentUrl": "document",
    "audioUrl": "audio",
    "stickerUrl": "sticker",
    "contact": "contact",
    "location": "location",
    "poll": "poll",
    "text": "text",
}

MEDIA = ("imageUrl", "videoUrl", "documentUrl", "audioUrl", "stickerUrl")

Errors = dict[str, list[str]]


def kind_of(body: dict[str, Any]) -> str | None:
    """The message type, or None when there is nothing to send. Nulls count as absent."""
    return next((kind for name, kind in TYPES.items() if body.get(name) not in (None, "")), None)


def check(body: dict[str, Any], switches: Switches) -> tuple[Recipient | None, str, Errors]:
    """Recipient, message type and validation errors (empty when the body is fine)."""
    errors: Errors = {}
    recipient = _check_to(body.get("to"), switches, errors)
    kind = kind_of(body)
    if kind is None:
        errors["text"] = ["The text field is required when no media is present."]
        return recipient, "", errors
    _check_text(body.get("text"), switches.text_max, errors)
    for name in MEDIA:
        url = body.get(name)
        if url is not None and not (isinstance(url, str) and url.startswith(("http://", "https://"))):
            errors[name] = [f"The {_spaced(name)} must be a valid URL."]
    if kind == "contact":
        _check_contact(body["contact"], errors)
    elif kind == "location":
        _check_location(body["location"], errors)
    elif kind == "poll":
        _check_poll(body["poll"], errors)
    _check_options(body, errors)
    return recipient, kind, errors


def summary(errors: Errors) -> str:
    """The top-level `message` of a validation failure."""
    if errors.get("to") == [replies.BAD_JID]:
        return replies.BAD_JID
    return "Validation failed"


def media_url(body: dict[str, Any]) -> str | None:
    return next((body[name] for name in MEDIA if body.get(name)), None)


def _spaced(name: str) -> str:
    return "".join(f" {letter.lower()}" if letter.isupper() else letter for letter in name)


def _check_to(to: object, switches: Switches, errors: Errors) -> Recipient | None:
    if to in (None, ""):
        errors["to"] = ["The to field is required."]
        return None
    if not isinstance(to, str):
        errors["to"] = ["The to must be a string."]
        return None
    recipient = read_recipient(to)
    refused = {"handle": switches.handles, "lid": switches.lid_recipient}
    if recipient is None or refused.get(recipient.kind) == "reject":
        errors["to"] = [replies.BAD_JID]
        return None
    return recipient


def _check_text(text: object, longest: int, errors: Errors) -> None:
    if text is None:
        return
    if not isinstance(text, str):
        errors["text"] = ["The text must be a string."]
    elif len(text) > longest:
        errors["text"] = [f"The text must not be greater than {longest} characters."]


def _check_contact(contact: object, errors: Errors) -> None:
    if not isinstance(contact, dict):
        errors["contact"] = ["The contact must be an array."]
        return
    for name in ("name", "phone"):
        if not isinstance(contact.get(name), str) or not contact[name]:
            errors[f"contact.{name}"] = [f"The contact.{name} field is required."]


def _check_location(location: object, errors: Errors) -> None:
    if not isinstance(location, dict):
        errors["location"] = ["The location must be an array."]
        return
    for name, most in (("latitude", 90), ("longitude", 180)):
        degrees = location.get(name)
        if isinstance(degrees, bool) or not isinstance(degrees, int | float):
            errors[f"location.{name}"] = [f"The location.{name} must be a number."]
        elif not -most <= degrees <= most:
            errors[f"location.{name}"] = [f"The location.{name} must be between -{most} and {most}."]


def _check_poll(poll: object, errors: Errors) -> None:
    if not isinstance(poll, dict):
        errors["poll"] = ["The poll must be an array."]
        return
    if not isinstance(poll.get("question"), str) or not poll["question"]:
        errors["poll.question"] = ["The poll.question field is required."]
    options = poll.get("options")
    if not isinstance(options, list) or not all(isinstance(option, str) for option in options):
        errors["poll.options"] = ["The poll.options must be an array of strings."]
    elif not 2 <= len(options) <= 12:
        errors["poll.options"] = ["The poll.options must have between 2 and 12 items."]


def _check_options(body: dict[str, Any], errors: Errors) -> None:
    mentions, reply_to, view_once = body.get("mentions"), body.get("replyTo"), body.get("viewOnce")
    if mentions is not None and not (isinstance(mentions, list) and all(isinstance(m, str) for m in mentions)):
        errors["mentions"] = ["The mentions must be an array of strings."]
    if reply_to is not None and (isinstance(reply_to, bool) or not isinstance(reply_to, int)):
        errors["replyTo"] = ["The reply to must be an integer."]
    if view_once is not None and not isinstance(view_once, bool):
        errors["viewOnce"] = ["The view once field must be true or false."]
