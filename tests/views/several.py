"""What a run of several classes has on record, for the views."""

from __future__ import annotations

from typing import Any

NAMES = ("on time", "late", "very late")
COUNTS = ((15_940, 1_880, 161), (4_210, 2_011, 302), (1_093, 901, 506))


def by_class(model: str, name: str, *, unknown: int = 0) -> dict[str, Any]:
    """The body of ``classes.measured``."""

    def share(value: float) -> dict[str, Any]:
        return {"value": value, "low": round(value - 0.021, 4), "high": round(value + 0.019, 4), "reason": None}

    classes = [
        {"class": one, "rows": sum(COUNTS[k]), "predicted": sum(row[k] for row in COUNTS), "right": COUNTS[k][k],
         "precision": share(round(COUNTS[k][k] / sum(row[k] for row in COUNTS), 4)), "recall": share(round(COUNTS[k][k] / sum(COUNTS[k]), 4))}
        for k, one in enumerate(NAMES)
    ]  # fmt: skip
    wrong = [(NAMES[i], NAMES[j], COUNTS[i][j]) for i in range(3) for j in range(3) if i != j]
    confused = [{"came": i, "said": j, "rows": rows} for i, j, rows in sorted(wrong, key=lambda one: -one[2])]
    return {
        "model": model, "name": name, "rows": 27_004 + unknown, "classes": classes, "not_shown": 0, "confusion": [list(row) for row in COUNTS],
        "confused": confused, "unknown": {"diverted": unknown} if unknown else {},
    }  # fmt: skip


def calibration(model: str, name: str) -> dict[str, Any]:
    """The body of ``calibration.measured``."""

    def bins(*pairs: tuple[float, float]) -> list[dict[str, Any]]:
        return [{"predicted": p, "observed": o, "low": o - 0.02, "high": o + 0.02, "rows": 1_350} for p, o in pairs]

    classes = [bins((0.42, 0.45), (0.9, 0.88)), bins((0.1, 0.09), (0.3, 0.36)), bins((0.02, 0.02), (0.2, 0.17))]
    found = [{"class": one, "bins": of} for one, of in zip(NAMES, classes, strict=True)]
    return {"model": model, "name": name, "classes": found}
