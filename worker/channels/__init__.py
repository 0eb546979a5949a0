"""All SQL about channels: their names and keys, their states, their leases."""
