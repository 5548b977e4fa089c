"""Looking for one person in bytes that are no table."""

from __future__ import annotations

import json
from pathlib import Path

from sterling.models.model import FORMAT
from sterling.stages.person import Person


def times_in_file(person: Person, path: Path) -> int:
    """How often a file names a person or one of their events."""
    return times_in(person, path.read_bytes())


def times_in(person: Person, data: bytes) -> int:
    """How often bytes name a person or one of their events.

    In JSON the strings are looked at, in a model the columns with their categories alone: the rest of it is numbers, in
    which an id would be found by chance.
    """
    try:
        document = json.loads(data) if data[:1] in {b"{", b"["} else None
    except ValueError:  # such as one JSON object a line
        document = None
    if document is None:
        return person.count_in(data.decode("utf-8", errors="replace"))
    is_model = isinstance(document, dict) and document.get("format") == FORMAT
    return person.count_in_json(document["columns"] if is_model else document)
