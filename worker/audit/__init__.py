"""Audits: what a CRM believes of its messages, held against the ledger, which is Truetick's own database."""
