"""Kinds of problems: what each of them measures, and how time splits its rows."""
