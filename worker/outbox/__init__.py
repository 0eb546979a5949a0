"""All SQL about messages, their attempts and their events."""
