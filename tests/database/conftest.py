from tests.outbox.desks import desk, kept_postgres_desk, postgres_desk, sqlite_desk

__all__ = ["desk", "kept_postgres_desk", "postgres_desk", "sqlite_desk"]
