"""What a worker says of itself when it is asked through the broker: its versions, its schema and its clock.

Workers take the command up with their consumer (`worker.consumer`); whoever asks needs no more than its name.
"""

import platform
import time
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from worker import revisions

COMMAND = "truetick_report"


def truetick_version() -> str:
    try:
        return version("truetick")
    except PackageNotFoundError:  # run from a checkout that nobody installed
        return "unknown"


def report(_state: Any = None) -> dict[str, Any]:
    """Versions of Truetick, Celery and Python, the schema's revision, and the time (Unix) by this machine's clock."""
    return {
        "truetick": truetick_version(),
        "celery": version("celery"),
        "python": platform.python_version(),
        "schema": revisions.head(),
        "time": time.time(),
    }
