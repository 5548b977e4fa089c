"""Labels in words: how many are positive or of each class, or where numbers lie."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sterling.views.text import number, percent


def labels(body: Mapping[str, Any], rows: int) -> str:
    """What a fact says of its labels.

    Args:
        body: The fact's body, with ``positives``, ``classes``, or ``mean`` and ``quartiles``.
        rows: How many labels there are.

    Example:
        >>> labels({"positives": 30}, 120)
        '30 positive (25.0 %)'
        >>> labels({"classes": {"UA": 60, "AA": 40, "B6": 15, "F9": 5}, "class_count": 4}, 120)
        'UA 50.0 %, AA 33.3 %, B6 12.5 % and 1 more'
        >>> labels({"mean": 7.5, "deviation": 2.0, "quartiles": [0.0, 5.0, 7.0, 9.0, 40.0]}, 120)
        'mean 7.50, half of them from 5 to 9'
        >>> labels({"mean": None, "deviation": None, "quartiles": None}, 0)
        'none'
    """
    if "positives" in body:
        return f"{number(body['positives'])} positive ({percent(body['positives'] / rows) if rows else '–'})"
    if "classes" in body:
        most = [f"{name} {percent(count / rows) if rows else '–'}" for name, count in [*body["classes"].items()][:3]]
        left = body["class_count"] - len(most)
        return f"{', '.join(most)}{f' and {left} more' if left else ''}" or "none"
    if body["quartiles"] is None:
        return "none"
    return f"mean {number(body['mean'])}, half of them from {body['quartiles'][1]:.4g} to {body['quartiles'][3]:.4g}"
