"""Whether what is served is what was trained: the last gate before a release."""

from __future__ import annotations

from collections.abc import Iterable

from sterling.core.evidence import Entry
from sterling.decisions.verdict import Verdict

CHECKED = "served.checked"


def served_as_trained(entries: Iterable[Entry], model: str) -> Verdict:
    """Pass if every row of a model's training that was sent through the server got the score that training kept.

    Args:
        entries: Entries of the ledger, oldest first; the newest check of the model counts.
        model: Ref of the model.

    Example:
        >>> served_as_trained([], "sha256:0")
        Verdict(passed=False, reason='No evidence of what the server answers. `sterling serve --check` asks it.', seen=(), margin=None)
    """
    found = [entry for entry in entries if entry.kind == CHECKED and entry.body["model"] == model]
    if not found:
        return Verdict(False, "No evidence of what the server answers. `sterling serve --check` asks it.", ())
    body, seen = found[-1].body, (found[-1].position,)
    rows, unequal = body["rows"], body["unequal"]
    if not rows:
        return Verdict(False, "No row of the training was kept to ask the server about.", seen)
    if unequal:
        apart = "" if body["largest"] is None else f", by up to {body['largest']:.3g}"
        return Verdict(False, f"The server gives {unequal:,} of {rows:,} training rows another score{apart}.", seen)
    return Verdict(True, f"The server gives {rows:,} training rows the scores of training, to the last bit.", seen)
