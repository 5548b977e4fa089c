"""Standalone: what works on anybody's files, without a project and without a ledger."""
