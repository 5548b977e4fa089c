"""Decisions: entries in, facts out, each with the evidence that it looked at."""
