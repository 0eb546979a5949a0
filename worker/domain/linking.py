"""What WaSender answers when a session is to be linked to a phone, or to get another key. Shapes and times only."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from pydantic import SecretStr

#: A QR code can be scanned for about so long. Source: the contract on connecting.
CODE_LIFETIME: Final = timedelta(seconds=45)
#: WaSender is not asked for codes more often than this. Source: the contract on QR codes.
CODE_PAUSE_S: Final = 15.0
#: Longer than any code that WhatsApp has, and what still fits a QR code.
LONGEST_CODE: Final = 1000

CONNECTED: Final = "connected"
CONNECTING: Final = "connecting"
NEED_SCAN: Final = "need_scan"
NEED_PASSKEY: Final = "need_passkey"


@dataclass(frozen=True, kw_only=True)
class ConnectReport:
    """WaSender's answer to "connect". It says `connected` while it is still connecting, too."""

    #: In lower case, such as `need_scan`.
    status: str
    #: The text of the QR code. Whoever scans it has the WhatsApp account, so it is a secret for as long as it lives.
    qr_code: SecretStr | None = None
