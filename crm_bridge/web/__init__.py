"""The HTTP API. `crm_bridge.web:create_app()` is what a WSGI server loads."""

from crm_bridge.web.application import create_app

__all__ = ["create_app"]
