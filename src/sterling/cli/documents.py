"""Documents of a run: the card and the page, with the definition that the store holds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from sterling.cli.evidence import entries_of
from sterling.core.durable import write_file
from sterling.core.workspace import Workspace
from sterling.views.card import card_run, definition_ref, model_card
from sterling.views.facts import Run
from sterling.views.page import report_page


def card_of(folder: Path, version: int | None = None) -> str:
    """The model card as Markdown: of a version, else of the live one, else of the newest candidate."""
    entries = entries_of(folder)
    return model_card(entries, version, definition_of(folder, card_run(entries, version)))


def page_of(folder: Path, version: int | None = None) -> str:
    """The self-contained HTML page of the same."""
    entries = entries_of(folder)
    run = card_run(entries, version)
    return report_page(entries, definition_of(folder, run), run=run)


def definition_of(folder: Path, run: Run) -> dict[str, Any]:
    """JSON of the definition that a run was made by."""
    definition: dict[str, Any] = json.loads(Workspace(folder).store().open(definition_ref(run)).read_bytes())
    return definition


def write(target: Path, text: str) -> None:
    """Write a document whole or not at all."""
    write_file(target, text.encode())
