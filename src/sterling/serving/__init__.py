"""Serving: predictions of released models over HTTP."""
