"""What a CRM touches: `Truetick` sends through the broker, `send_in` within the CRM's own transaction, and `web` is
the HTTP API. It stands on `worker`, and `worker` knows nothing of it.

Nothing is loaded before it is used: `from crm_bridge import Truetick` needs Celery alone, with its broker's library.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from crm_bridge.broker_line import NotEnqueued as NotEnqueued
    from crm_bridge.client import Truetick as Truetick
    from crm_bridge.outbox import send_in as send_in

_WHERE = {
    "Truetick": "crm_bridge.client",
    "NotEnqueued": "crm_bridge.broker_line",
    "send_in": "crm_bridge.outbox",
}

__all__ = ["NotEnqueued", "Truetick", "send_in"]


def __getattr__(name: str) -> Any:
    if name in _WHERE:
        return getattr(import_module(_WHERE[name]), name)
    raise AttributeError(f"module 'crm_bridge' has no attribute {name!r}")
