"""Callbacks: each status change that the CRM can see is told to each endpoint, in order per message."""
