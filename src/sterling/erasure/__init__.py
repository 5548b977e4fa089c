"""Erasing one person: found in everything that Sterling holds for a project, taken out of it, and searched for again."""
