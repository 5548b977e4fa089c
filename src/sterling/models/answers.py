"""What models answer with: one number a row, or several that are named, and how a table holds them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from sterling.core.errors import DataError

if TYPE_CHECKING:
    import pyarrow as pa

Answers = Literal["probability", "number", "probabilities", "numbers"]
"""One number a row, a probability or any; or one for each output, probabilities that sum to 1 or numbers that never fall."""
SEVERAL: tuple[Answers, ...] = ("probabilities", "numbers")
"""Answers of shape (rows, outputs); the others are of shape (rows,)."""
SCORE = "score"
TOLERANCE = 1e-6
"""Probabilities of a row may sum to this much more or less than 1."""


def score_columns(outputs: Sequence[str]) -> tuple[str, ...]:
    """Columns of a table of predictions.

    Args:
        outputs: Names of a model's outputs; none where it has one, which has no name.

    Example:
        >>> score_columns(()), score_columns(("AA", "UA"))
        (('score',), ('score:AA', 'score:UA'))
    """
    return tuple(f"{SCORE}:{name}" for name in outputs) or (SCORE,)


def with_scores(table: pa.Table, scores: NDArray[np.float64], outputs: Sequence[str]) -> pa.Table:
    """A table with scores beside its rows, a column for each output.

    Args:
        table: The rows.
        scores: Shape (rows,), or (rows, outputs) where outputs are named.
        outputs: Names of the outputs.
    """
    import pyarrow as pa

    several = scores.reshape(len(scores), -1)
    for place, name in enumerate(score_columns(outputs)):
        table = table.append_column(name, pa.array(np.ascontiguousarray(several[:, place])))
    return table


def scores_of(table: pa.Table) -> NDArray[np.float64]:
    """The scores of a table of predictions, shape (rows,), or (rows, outputs) where these are named.

    Raises:
        DataError: if it has none.

    Example:
        >>> import pyarrow as pa
        >>> scores_of(pa.table({"unit": ["a"], "score:AA": [0.25], "score:UA": [0.75]})).tolist()
        [[0.25, 0.75]]
    """
    if SCORE in table.column_names:
        return _floats(table[SCORE])
    if not (names := outputs_of_table(table)):
        raise DataError(f"The predictions have no column {SCORE!r}. They have: {', '.join(table.column_names[:20])}.")
    return np.column_stack([_floats(table[f"{SCORE}:{name}"]) for name in names])


def outputs_of_table(table: pa.Table) -> tuple[str, ...]:
    """Names of the outputs of a table of predictions, in order; none where there is one, which has no name."""
    return tuple(n.removeprefix(f"{SCORE}:") for n in table.column_names if n.startswith(f"{SCORE}:"))


def places_of(labels: pa.ChunkedArray, classes: Sequence[str]) -> NDArray[np.float64]:
    """The place of each label among classes; -1 for one that is none of them, NaN where there is none.

    Example:
        >>> import pyarrow as pa
        >>> places_of(pa.chunked_array([["UA", None, "F9"]]), ("AA", "UA")).tolist()
        [1.0, nan, -1.0]
    """
    array = labels.combine_chunks()
    if not hasattr(array, "indices"):
        array = array.dictionary_encode()
    known = {name: float(place) for place, name in enumerate(classes)}
    table = np.array([*(known.get(name, -1.0) for name in array.dictionary.to_pylist()), np.nan])
    found: NDArray[np.float64] = table[array.indices.fill_null(len(table) - 1).to_numpy(zero_copy_only=False)]
    return found


def refusal(answers: Answers, found: NDArray[np.float64]) -> str | None:
    """Why answers are none of their kind; None where they are.

    Args:
        answers: What they should be.
        found: Shape (rows,), or (rows, outputs).

    Example:
        >>> refusal("probabilities", np.array([[0.5, 0.5], [0.5, 0.25]]))
        'The model answers [0.5, 0.25], which are no probabilities that sum to 1.'
    """
    if answers in ("number", "numbers"):
        if not np.isfinite(found).all():
            return f"The model answers {found[~np.isfinite(found)][0]!r}, which is no finite number."
    elif not ((found >= 0) & (found <= 1)).all():
        return f"The model answers {found[~((found >= 0) & (found <= 1))][0]!r}, which is no probability."
    if answers == "probabilities":
        wrong = np.abs(found.sum(axis=1) - 1) > TOLERANCE
        said = "which are no probabilities that sum to 1"
    elif answers == "numbers":
        wrong, said = (np.diff(found, axis=1) < 0).any(axis=1), "which fall"
    else:
        return None
    return f"The model answers {found[wrong][0].tolist()}, {said}." if wrong.any() else None


def _floats(values: pa.ChunkedArray) -> NDArray[np.float64]:
    found: NDArray[np.float64] = values.to_numpy()
    return found
