"""Golden files: documents whose every change is looked at before it is kept."""

from __future__ import annotations

import os
from pathlib import Path


def golden(path: Path, text: str) -> str:
    """The text that a golden file keeps, to be compared with the text that was made.

    With ``UPDATE_GOLDEN=1`` in the environment the file is written first; read the difference before it is committed.

    Args:
        path: The golden file, such as ``Path(__file__).parent / "golden" / "model_card.md"``.
        text: The text that was made.

    Raises:
        FileNotFoundError: if there is no such file yet.

    Example:
        ``assert card == golden(GOLDEN / "model_card.md", card)``
    """
    if os.environ.get("UPDATE_GOLDEN") == "1":
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode())
    if not path.is_file():
        raise FileNotFoundError(f"There is no golden file {path}. Make it with UPDATE_GOLDEN=1, then read it.")
    return path.read_bytes().decode()
