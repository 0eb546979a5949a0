"""The HTTP API. `crm_bridge.web:create_app()` is what a WSGI server loads.

It is loaded on first use: parts of this package serve inside other people's applications, which have a Celery app of
their own.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from crm_bridge.web.application import create_app as create_app


def __getattr__(name: str) -> Any:
    if name == "create_app":
        from crm_bridge.web.application import create_app

        return create_app
    raise AttributeError(f"module 'crm_bridge.web' has no attribute {name!r}")
