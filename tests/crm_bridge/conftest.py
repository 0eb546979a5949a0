"""A CRM beside real workers: the environment they share, and who looks into their database."""

from tests.celery.conftest import crm, environment

__all__ = ["crm", "environment"]
