"""Imports: a table of recipients becomes messages, each row once however often it is imported."""
