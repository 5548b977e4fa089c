"""Documents on disk: the card and the page, written whole or not at all."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path

from sterling.core.evidence import Entry
from sterling.core.workspace import Workspace
from sterling.project.load import load_project


def write_card(folder: Path, target: Path, *, version: int | None = None) -> None:
    """Write the model card as Markdown."""
    from sterling.views.card import model_card

    _write(target, model_card(_entries(folder), version=version))
