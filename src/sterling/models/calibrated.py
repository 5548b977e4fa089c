"""A predictor behind a calibration curve, as data."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, ClassVar

import numpy as np

from sterling.core.errors import InvalidDefinitionError
from sterling.models.answers import Answers
from sterling.models.columns import Column, Matrix
from sterling.models.predictors import Predictor, Probabilities
from sterling.stats.calibration_curves import BetaCurve, Curve, StepCurve


@dataclass(frozen=True)
class Calibrated:
    """What a predictor answers, led back by a curve.

    Attributes:
        predictor: The predictor.
        curve: The curve, a `BetaCurve` or a `StepCurve` of `sterling.stats.calibration_curves`.

    Example:
        >>> from sterling.models.predictors import Constant
        >>> Calibrated(Constant(0.25), BetaCurve(1.0, 1.0, float(np.log(3)))).predict(np.zeros((1, 0))).round(4)
        array([0.5])
    """

    predictor: Predictor
    curve: Curve
    answers: ClassVar[Answers] = "probability"
    outputs: ClassVar[int] = 1

    def __post_init__(self) -> None:
        object.__setattr__(self, "curve", _as_floats(self.curve))

    def predict(self, matrix: Matrix) -> Probabilities:
        """Probability of each row."""
        return self.curve.map(self.predictor.predict(matrix))

    def check(self, columns: Sequence[Column]) -> None:
        """Refuse what the predictor refuses."""
        self.predictor.check(columns)

    def document(self) -> dict[str, Any]:
        """The predictor as JSON."""
        curve = {name: list(v) if isinstance(v, tuple) else v for name, v in self.curve._asdict().items()}
        return {"type": "calibrated", "curve": curve, "predictor": self.predictor.document()}


def calibrated_from(document: Mapping[str, Any], inner: Callable[[Mapping[str, Any]], Predictor]) -> Calibrated:
    """Read what `Calibrated.document` wrote; the inner predictor is read by ``inner``."""
    found = document["curve"]
    curve: Curve = (
        StepCurve(tuple(found["x"]), tuple(found["y"]))
        if "x" in found
        else BetaCurve(found["a"], found["b"], found["c"])
    )
    return Calibrated(inner(document["predictor"]), curve)


def shifted(predictor: Predictor, shift: float) -> Predictor:
    """A predictor whose log odds are this much lower; itself where that is 0."""
    return predictor if shift == 0 else Calibrated(predictor, shift_curve(shift))


def shift_curve(shift: float) -> BetaCurve:
    """The curve that takes something off the log odds."""
    return BetaCurve(1.0, 1.0, -shift)


def innermost(predictor: Predictor) -> Predictor:
    """The predictor behind all curves, or itself."""
    while isinstance(predictor, Calibrated):
        predictor = predictor.predictor
    return predictor


def _as_floats(curve: Curve) -> Curve:
    if isinstance(curve, BetaCurve):
        curve = BetaCurve(float(curve.a), float(curve.b), float(curve.c))
        if not np.isfinite(curve).all() or min(curve.a, curve.b) < 0:
            raise InvalidDefinitionError(f"The curve {curve} is not finite, or falls.")
        return curve
    x, y = (tuple(map(float, side)) for side in (curve.x, curve.y))
    falls = any(after < before for side in (x, y) for before, after in pairwise(side))
    if not x or len(x) != len(y) or falls or not all(0 <= value <= 1 for value in (*x, *y)):
        raise InvalidDefinitionError("A curve of steps has as many x as y, both rising, all in [0, 1].")
    return StepCurve(x, y)
