"""What tells one text from another without being the text: a webhook can be matched with it, and nothing be read."""

import hashlib
import unicodedata
from collections.abc import Mapping

#: Contents of which WhatsApp shows no text that could be compared with what was sent.
_TEXTLESS = ("contact", "location", "poll")


def text_digest(text: str) -> str:
    """Give 64 hex digits; the same for a text that came back composed otherwise or without its outer blanks."""
    plain = unicodedata.normalize("NFC", text).strip()
    # Half of a surrogate pair can stand in a JSON text of somebody else's.
    return hashlib.sha256(plain.encode("utf-8", "surrogatepass")).hexdigest()


def digest_of_content(content: Mapping[str, object]) -> str | None:
    """Give the digest of a stored content's text or caption; None where there is none to compare."""
    text = content.get("text")
    if not isinstance(text, str) or not text.strip():
        return None
    return None if any(content.get(kind) is not None for kind in _TEXTLESS) else text_digest(text)
