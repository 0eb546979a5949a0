"""What a worker says of itself when it is asked through the broker: its versions, its schema and its clock.

Workers take the command up with their consumer (`worker.consumer`); whoever asks needs no more than its name.
"""

import platform
import time
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from worker import revisions

COMMAND = "truetick_report"
#: What each worker of any program can answer. Those of others do not know our command, and would log an error.
QUEUES_COMMAND = "active_queues"
#: Where CRMs put their tasks (Celery's default queue), and our own.
CRM_QUEUE, DRAIN_QUEUE, UPKEEP_QUEUE = "celery", "truetick.drain", "truetick.upkeep"
#: How the queues begin on which nobody but our workers listens.
OWN_QUEUES = "truetick."


def truetick_version() -> str:
    try:
        return version("truetick")
    except PackageNotFoundError:  # run from a checkout that nobody installed
        return "unknown"


def is_ours(queues: Any) -> bool:
    """Does this answer to `active_queues` come from one of our workers? A CRM may have its own on the same broker."""
    named = [queue.get("name") for queue in queues if isinstance(queue, dict)] if isinstance(queues, list) else []
    return any(isinstance(name, str) and name.startswith(OWN_QUEUES) for name in named)


def report(_state: Any = None) -> dict[str, Any]:
    """Versions of Truetick, Celery and Python, the schema's revision, and the time (Unix) by this machine's clock."""
    return {
        "truetick": truetick_version(),
        "celery": version("celery"),
        "python": platform.python_version(),
        "schema": revisions.head(),
        "time": time.time(),
    }
