"""Reproduction: a run executed again from what is on record, in a fresh process, and compared ref by ref."""
