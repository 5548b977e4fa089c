"""Estimators of scikit-learn as data: trained by the library, then held against it on the training rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sterling.core.errors import DataError, nearest
from sterling.models.blas import one_blas_thread
from sterling.models.columns import Matrix
from sterling.models.forest import LEAF, Forest, Tree
from sterling.models.predictors import Linear, NumberTerm, Predictor
from sterling.models.prepared import STEPS, Made, Prepared
from sterling.models.rows import TrainingRows
from sterling.models.weights import Weights
from sterling.project.tasks import Binary, Task
from sterling.project.trainers import Sklearn

TOLERANCE = 1e-9
"""Largest difference between an answer of the library and of its data form on the training rows, for numbers times the
largest of them."""
_COMPARED = 5_000
_OTHERWISE = (
    "What would work: one of these estimators, sl.LightGBM, a trainer of your own that returns one of Sterling's "
    "predictors (sl.Custom), an ONNX export, or the model behind a URL; the last two are not there yet."
)


def fit_sklearn(trainer: Sklearn, rows: TrainingRows, weights: Weights) -> Predictor:
    """Train a copy of the estimator on one BLAS thread, and turn it into data.

    Raises:
        DataError: if the estimator has no data-only form, or this answers otherwise than the estimator.
    """
    from sklearn.base import clone
    from sklearn.pipeline import Pipeline

    if not rows.columns:
        raise DataError(f"{trainer.name} needs at least one feature.")
    estimator = clone(trainer.estimator)
    steps = list(estimator.steps) if isinstance(estimator, Pipeline) else [("model", estimator)]
    last = type(steps[-1][1]).__name__
    forms = _FORMS if isinstance(rows.task, Binary) else _NUMBERS
    if last not in forms:
        other = " It answers another kind of question." if last in {**_FORMS, **_NUMBERS} else ""
        raise DataError(
            f"{last} has no form that is data alone{' for this task' if other else ''}.{other} "
            f"Known: {', '.join(sorted(forms))}. {_OTHERWISE}"
        )
    for _, step in steps[:-1]:
        if type(step).__name__ not in {*_PREPARED, "ColumnTransformer"}:
            raise DataError(
                f"{type(step).__name__} is prepared by code. Known: {', '.join(sorted(_PREPARED))}. {_OTHERWISE}"
            )
    seeded = {
        name: rows.seed
        for name, value in estimator.get_params().items()
        if name.endswith("random_state") and value is None
    }
    estimator.set_params(**seeded)
    _name_places(estimator, rows.names)
    made: Sequence[Made] = [Made(place) for place in range(len(rows.columns))]
    if len(steps) == 1 and not _takes_anything(estimator, rows):
        made = _usual(rows)
    given = _values(made, rows.matrix)
    with one_blas_thread():
        _fit(estimator, steps, given, rows.label, weights.rows, trainer.name)
    for _, step in steps[:-1]:
        made = _transformed(step, made)
    inner = forms[last](steps[-1][1], len(made))
    plain = all(column == Made(place) for place, column in enumerate(made)) and len(made) == len(rows.columns)
    found = inner if plain and isinstance(inner, Forest) else Prepared(tuple(made), inner)
    some = slice(None, None, max(1, len(rows.label) // _COMPARED))
    theirs = _answers(estimator, given[some], rows.task)
    worst, allowed = float(np.abs(found.predict(rows.matrix[some]) - theirs).max()), _allowed(theirs, rows.task)
    if not worst <= allowed:
        raise DataError(
            f"{last} as data answers otherwise than scikit-learn, by up to {worst:g} where {allowed:g} is allowed. {_OTHERWISE}"
        )
    return found


def _answers(estimator: Any, given: Matrix, task: Task) -> NDArray[np.float64]:
    """What the library answers: probabilities of 1, or numbers."""
    answers = estimator.predict_proba(given)[:, 1] if isinstance(task, Binary) else estimator.predict(given)
    return np.asarray(answers, np.float64).reshape(len(given))


def _allowed(theirs: NDArray[np.float64], task: Task) -> float:
    return TOLERANCE if isinstance(task, Binary) else TOLERANCE * max(1.0, float(np.abs(theirs).max()))


def _fit(
    estimator: Any, steps: Sequence[tuple[str, Any]], given: Matrix, label: NDArray[np.float64],
    weights: NDArray[np.float64] | None, name: str,
) -> None:  # fmt: skip
    prefix = f"{steps[-1][0]}__" if estimator is not steps[-1][1] else ""
    weighted = {} if weights is None else {f"{prefix}sample_weight": weights}
    try:
        estimator.fit(given, label, **weighted)
    except (ValueError, TypeError) as error:
        raise DataError(f"{name}: scikit-learn refuses the rows: {str(error).splitlines()[0]}") from error


def _takes_anything(estimator: Any, rows: TrainingRows) -> bool:
    """Whether the estimator reads the encoded rows as they are: trees that know missing values."""
    from sklearn.utils import get_tags

    trees = (
        "Tree" in type(estimator).__name__ or "Forest" in type(estimator).__name__ or "Hist" in type(estimator).__name__
    )
    return trees and (bool(get_tags(estimator).input_tags.allow_nan) or not np.isnan(rows.matrix).any())


def _usual(rows: TrainingRows) -> list[Made]:
    """Numbers filled with their mean and scaled, with a flag where some are missing; categories one-hot."""
    made: list[Made] = []
    for place, column in enumerate(rows.columns):
        values = rows.matrix[:, place]
        missing = np.isnan(values)
        if column.kind == "category":
            made += [Made(place, (("is", float(code)),)) for code in range(len(column.categories))]
        else:
            seen = values[~missing]
            mean, spread = (float(seen.mean()), float(seen.std())) if len(seen) else (0.0, 0.0)
            made.append(Made(place, (("fill", mean), ("subtract", mean), ("divide", spread or 1.0))))
        if missing.any():
            made.append(Made(place, (("missing", 0.0),)))
    return made


def _values(made: Sequence[Made], matrix: Matrix) -> Matrix:
    columns = []
    for column in made:
        values = matrix[:, column.source]
        for name, number in column.steps:
            values = STEPS[name](values, number)
        columns.append(values)
    return np.column_stack(columns)


def _name_places(estimator: Any, names: Sequence[str]) -> None:
    """Names of features in column transformers as their places."""
    from sklearn.compose import ColumnTransformer
    from sklearn.pipeline import Pipeline

    steps = [step for _, step in estimator.steps] if isinstance(estimator, Pipeline) else [estimator]
    for step in steps:
        if isinstance(step, ColumnTransformer):
            step.transformers = [(name, part, _places(columns, names)) for name, part, columns in step.transformers]


def _places(columns: Any, names: Sequence[str]) -> Any:
    if not isinstance(columns, list | tuple):
        raise DataError(f"A ColumnTransformer takes its columns as a list of features, not {columns!r}.")
    if unknown := [name for name in columns if isinstance(name, str) and name not in names]:
        raise DataError(f"A ColumnTransformer names {unknown[0]!r}, which is no feature. {nearest(unknown[0], names)}")
    return [names.index(name) if isinstance(name, str) else name for name in columns]


def _transformed(step: Any, made: Sequence[Made]) -> Sequence[Made]:
    name = type(step).__name__
    if name == "Pipeline":
        for _, part in step.steps:
            made = _transformed(part, made)
        return made
    if name == "ColumnTransformer":
        found: list[Made] = []
        for _, part, places in step.transformers_:
            chosen = [made[place] for place in places]
            if part == "passthrough" or type(part).__name__ == "FunctionTransformer":
                found += chosen
            elif part != "drop":
                found += _transformed(part, chosen)
        return found
    if name not in _PREPARED:
        raise DataError(f"{name} is prepared by code. Known: {', '.join(sorted(_PREPARED))}. {_OTHERWISE}")
    return _PREPARED[name](step, made)


def _imputed(step: Any, made: Sequence[Made]) -> Sequence[Made]:
    if step.add_indicator:
        raise DataError("SimpleImputer with add_indicator=True has no data form here. Leave the flag out.")
    return [c.then(("fill", float(v))) for c, v in zip(made, step.statistics_, strict=True) if not np.isnan(v)]


def _standardised(step: Any, made: Sequence[Made]) -> Sequence[Made]:
    means = step.mean_ if step.with_mean else np.zeros(len(made))
    scales = step.scale_ if step.with_std else np.ones(len(made))
    return [c.then(("subtract", float(m)), ("divide", float(s))) for c, m, s in zip(made, means, scales, strict=True)]


def _ranged(step: Any, made: Sequence[Made]) -> Sequence[Made]:
    if step.clip:
        raise DataError("MinMaxScaler with clip=True has no data form here. Leave the clip out.")
    return [
        c.then(("multiply", float(s)), ("add", float(m))) for c, s, m in zip(made, step.scale_, step.min_, strict=True)
    ]


def _one_hot(step: Any, made: Sequence[Made]) -> Sequence[Made]:
    if step.handle_unknown != "ignore" or step.drop is not None or step.min_frequency or step.max_categories:
        raise DataError(
            "OneHotEncoder has a data form with handle_unknown='ignore' and without drop or merged categories."
        )
    return [
        column.then(("missing", 0.0) if np.isnan(value) else ("is", float(value)))
        for column, values in zip(made, step.categories_, strict=True)
        for value in values
    ]


_PREPARED: Mapping[str, Callable[[Any, Sequence[Made]], Sequence[Made]]] = {
    "SimpleImputer": _imputed,
    "StandardScaler": _standardised,
    "MinMaxScaler": _ranged,
    "OneHotEncoder": _one_hot,
}


def _linear(model: Any, count: int) -> Linear:
    assert model.coef_.shape == (1, count)
    return Linear(float(model.intercept_[0]), tuple(NumberTerm(0.0, 1.0, float(w), 0.0) for w in model.coef_[0]))


def _one_tree(model: Any, _: int) -> Forest:
    return Forest((_tree(model.tree_, 1.0, share=True),), single=False, strict=False, base=0.0, link="mean")


def _mean_of_trees(model: Any, _: int) -> Forest:
    trees = tuple(_tree(one.tree_, 1.0, share=True) for one in model.estimators_)
    return Forest(trees, single=False, strict=False, base=0.0, link="mean")


def _boosted(model: Any, _: int) -> Forest:
    if model.init is not None or model.loss != "log_loss":
        raise DataError("GradientBoostingClassifier has a data form with init=None and loss='log_loss'.")
    prior = np.clip(model.init_.class_prior_[1], np.finfo(np.float32).eps, 1 - np.finfo(np.float32).eps)
    trees = tuple(_tree(one.tree_, model.learning_rate, share=False) for one in model.estimators_[:, 0])
    return Forest(trees, single=False, strict=False, base=float(np.log(prior / (1 - prior))), link="logit")


def _histogram(model: Any, _: int) -> Forest:
    if model.is_categorical_ is not None:
        raise DataError(
            "HistGradientBoostingClassifier has a data form without categorical_features. One-hot them before."
        )
    trees = tuple(_histogram_tree(one[0].nodes) for one in model._predictors)  # noqa: SLF001  there is no public way
    return Forest(trees, single=False, strict=False, base=float(model._baseline_prediction.ravel()[0]), link="logit")  # noqa: SLF001


def _linear_number(model: Any, count: int) -> Linear:
    weights = np.asarray(model.coef_, np.float64).reshape(-1)
    assert len(weights) == count
    terms = tuple(NumberTerm(0.0, 1.0, float(weight), 0.0) for weight in weights)
    return Linear(float(np.asarray(model.intercept_).reshape(-1)[0]), terms, "number")


def _one_number_tree(model: Any, _: int) -> Forest:
    return Forest((_tree(model.tree_, 1.0, share=False),), single=False, strict=False, base=0.0, link="average")


def _mean_of_number_trees(model: Any, _: int) -> Forest:
    trees = tuple(_tree(one.tree_, 1.0, share=False) for one in model.estimators_)
    return Forest(trees, single=False, strict=False, base=0.0, link="average")


def _boosted_number(model: Any, _: int) -> Forest:
    if model.init not in {None, "zero"}:
        raise DataError("GradientBoostingRegressor has a data form with init=None or init='zero'.")
    base = 0.0 if model.init == "zero" else float(np.asarray(model.init_.constant_).reshape(-1)[0])
    trees = tuple(_tree(one.tree_, model.learning_rate, share=False) for one in model.estimators_[:, 0])
    return Forest(trees, single=False, strict=False, base=base, link="sum")


def _histogram_number(model: Any, _: int) -> Forest:
    if model.is_categorical_ is not None or model.loss in {"poisson", "gamma"}:
        raise DataError(
            "HistGradientBoostingRegressor has a data form without categorical_features, and with the loss squared_error, "
            "absolute_error or quantile."
        )
    trees = tuple(_histogram_tree(one[0].nodes) for one in model._predictors)  # noqa: SLF001  there is no public way
    return Forest(trees, single=False, strict=False, base=float(model._baseline_prediction.ravel()[0]), link="sum")  # noqa: SLF001


_NUMBERS: Mapping[str, Callable[[Any, int], Predictor]] = {
    "DecisionTreeRegressor": _one_number_tree,
    "ElasticNet": _linear_number,
    "ExtraTreesRegressor": _mean_of_number_trees,
    "GradientBoostingRegressor": _boosted_number,
    "HistGradientBoostingRegressor": _histogram_number,
    "Lasso": _linear_number,
    "LinearRegression": _linear_number,
    "RandomForestRegressor": _mean_of_number_trees,
    "Ridge": _linear_number,
}
_FORMS: Mapping[str, Callable[[Any, int], Predictor]] = {
    "LogisticRegression": _linear,
    "DecisionTreeClassifier": _one_tree,
    "RandomForestClassifier": _mean_of_trees,
    "ExtraTreesClassifier": _mean_of_trees,
    "GradientBoostingClassifier": _boosted,
    "HistGradientBoostingClassifier": _histogram,
}


def _tree(tree: Any, scale: float, *, share: bool) -> Tree:
    """A tree of scikit-learn, which compares in single precision: so its thresholds are led down to that."""
    leaf = tree.children_left == LEAF
    values = tree.value[:, 0, 1] / tree.value[:, 0].sum(axis=1) if share else tree.value[:, 0, 0]
    return Tree(
        tuple(np.where(leaf, 0, tree.feature).tolist()), tuple(np.where(leaf, 0.0, _led_down(tree.threshold)).tolist()),
        tuple(tree.children_left.tolist()), tuple(tree.children_right.tolist()),
        tuple(tree.missing_go_to_left.astype(bool).tolist()), tuple(np.where(leaf, scale * values, 0.0).tolist()),
        (None,) * len(leaf),
    )  # fmt: skip


def _led_down(thresholds: NDArray[np.float64]) -> NDArray[np.float64]:
    """The largest double that single precision rounds to a number that is not above the threshold."""
    thresholds, given = np.where(np.isfinite(thresholds), thresholds, 0.0), thresholds
    below = thresholds.astype(np.float32)
    below = np.where(below.astype(np.float64) > thresholds, np.nextafter(below, np.float32(-np.inf)), below)
    above = np.nextafter(below, np.float32(np.inf))
    middle = (below.astype(np.float64) + above.astype(np.float64)) / 2
    rounds_down = middle.astype(np.float32) == below
    return np.where(np.isfinite(given), np.where(rounds_down, middle, np.nextafter(middle, -np.inf)), _finite(given))


def _histogram_tree(nodes: Any) -> Tree:
    leaf = nodes["is_leaf"].astype(bool)
    return Tree(
        tuple(np.where(leaf, 0, nodes["feature_idx"]).tolist()), tuple(_finite(np.where(leaf, 0.0, nodes["num_threshold"])).tolist()),
        tuple(np.where(leaf, LEAF, nodes["left"].astype(np.int64)).tolist()),
        tuple(np.where(leaf, LEAF, nodes["right"].astype(np.int64)).tolist()),
        tuple(nodes["missing_go_to_left"].astype(bool).tolist()), tuple(np.where(leaf, nodes["value"], 0.0).tolist()),
        (None,) * len(leaf),
    )  # fmt: skip


def _finite(thresholds: NDArray[np.float64]) -> NDArray[np.float64]:
    """A split into missing and all others has an infinite threshold; the largest double does the same."""
    return np.clip(thresholds, -np.finfo(np.float64).max, np.finfo(np.float64).max)
