"""Truetick's queue: domain, database, gateway client, drain and the Celery app that runs them.

`celery -A worker …` finds the app here; it is loaded on first use, so that the pure parts import quickly.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from worker.celery_app import app as app


def __getattr__(name: str) -> Any:
    if name == "app":
        from worker.celery_app import app

        return app
    raise AttributeError(f"module 'worker' has no attribute {name!r}")
