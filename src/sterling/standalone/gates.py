"""Gates as one writes them on a command line: ``roc_auc>=0.7``, ``log_loss<champion-0.005``, ``roc_auc>=0.6 by carrier``."""

from __future__ import annotations

import re
from typing import Any

from sterling.core.errors import InvalidDefinitionError
from sterling.project.gates import AtLeast, AtMost, EverySlice, Gate, Improves, NonInferior
from sterling.project.metrics import METRICS, more_is_better

_GATE = re.compile(
    r"\s*(?P<metric>[a-z_0-9@.]+)\s*(?P<sign>>=|<=|>|<)\s*"
    r"(?:(?P<champion>champion)\s*(?:(?P<side>[+-])\s*(?P<by>[0-9.eE-]+))?|(?P<limit>-?[0-9.eE+-]+))"
    r"(?:\s+by\s+(?P<columns>[^,\s][^,]*(?:,[^,]+)*))?\s*"
)
_EXAMPLES = (
    "'roc_auc>=0.7', 'ece<=0.05', 'roc_auc>champion+0.005', 'roc_auc>=champion-0.005', 'roc_auc>=0.6 by carrier'"
)


def parse_gate(text: str, *, min_rows: int = 500) -> Gate:
    """A gate from its text.

    Against the champion, ``>`` (``<`` where less is better) asks for a gain, by more than what follows; ``>=`` allows a
    loss of less than what follows.

    Args:
        text: The gate.
        min_rows: Slices with fewer rows are shown and not judged.

    Raises:
        InvalidDefinitionError: if the text is no gate, with examples of what is.

    Example:
        >>> parse_gate("roc_auc >= 0.7")
        AtLeast(metric='roc_auc', floor=0.7)
        >>> parse_gate("log_loss<champion-0.005")
        Improves(metric='log_loss', over='champion', by=0.005)
        >>> parse_gate("roc_auc>=champion-0.01")
        NonInferior(metric='roc_auc', to='champion', margin=0.01)
    """
    found = _GATE.fullmatch(text)
    if not found:
        raise InvalidDefinitionError(f"{text!r} is no gate. Examples: {_EXAMPLES}.")
    metric: Any = found["metric"]
    if metric not in METRICS:
        raise InvalidDefinitionError(f"{text!r}: there is no metric {metric!r}. Known: {', '.join(METRICS)}.")
    better = ">" if more_is_better(metric) else "<"
    if found["champion"]:
        return _against_champion(text, metric, better, found)
    limit = _number(text, found["limit"])
    if found["columns"]:
        if found["sign"] != f"{better}=":
            raise InvalidDefinitionError(
                f"{text!r}: a gate of every slice is a limit on the worse side, such as 'roc_auc>=0.6 by carrier' or "
                "'mae<=5 by carrier'."
            )
        columns = [column.strip() for column in found["columns"].split(",")]
        if better == "<":
            return EverySlice(metric, by=columns, min_rows=min_rows, at_most=limit)
        return EverySlice(metric, by=columns, at_least=limit, min_rows=min_rows)
    if found["sign"] not in {">=", "<="}:
        raise InvalidDefinitionError(f"{text!r}: a gate on a number is >= or <=.")
    return AtLeast(metric, limit) if found["sign"] == ">=" else AtMost(metric, limit)


def _against_champion(text: str, metric: Any, better: str, found: re.Match[str]) -> Gate:
    if not found["sign"].startswith(better) or found["columns"]:
        raise InvalidDefinitionError(f"{text!r}: {metric} is better towards {better}. Examples: {_EXAMPLES}.")
    by = _number(text, found["by"]) if found["by"] else 0.0
    towards_better = (found["side"] or "+") == ("+" if better == ">" else "-")
    if found["sign"] == better:
        if by and not towards_better:
            raise InvalidDefinitionError(f"{text!r} allows a loss: write {better}= and not {better}.")
        return Improves(metric, over="champion", by=by)
    if not by or towards_better:
        raise InvalidDefinitionError(f"{text!r} needs a margin that may be lost, such as 'roc_auc>=champion-0.005'.")
    return NonInferior(metric, to="champion", margin=by)


def _number(text: str, found: str) -> float:
    try:
        return float(found)
    except ValueError:
        raise InvalidDefinitionError(f"{text!r}: {found!r} is no number.") from None
