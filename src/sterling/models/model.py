"""A model: its columns and its predictor, as one canonical document whose hash is its name."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sterling.core.canonical import canonical
from sterling.core.errors import DataError, InvalidDefinitionError
from sterling.core.refs import Ref, ref_of
from sterling.models.answers import SEVERAL, refusal
from sterling.models.calibrated import calibrated_from, innermost
from sterling.models.columns import Column, Matrix, encode_rows
from sterling.models.forest import Forest, forest_from
from sterling.models.predictors import (
    Constant,
    Linear,
    Number,
    Predictor,
    Probabilities,
    constant_from,
    linear_from,
    number_from,
)
from sterling.models.prepared import Prepared, prepared_from
from sterling.models.rule import Shares, rule_from
from sterling.models.several import Constants, Joined, constants_from, joined_from
from sterling.models.trees import Trees, trees_from

FORMAT = "sterling.model/1"
_FORMS: dict[str, Callable[[Mapping[str, Any]], Predictor]] = {
    "calibrated": lambda document: calibrated_from(document, _predictor_from),
    "constant": constant_from,
    "constants": constants_from,
    "forest": forest_from,
    "joined": lambda document: joined_from(document, _predictor_from),
    "linear": linear_from,
    "number": number_from,
    "prepared": lambda document: prepared_from(document, _predictor_from),
    "shares": rule_from,
    "trees": trees_from,
}
_PLAIN = Constant | Constants | Number | Forest | Joined | Linear | Prepared | Shares | Trees


@dataclass(frozen=True)
class Model:
    """Everything that turns a row of features into a probability or a number, or into several that are named.

    Attributes:
        columns: The features that it reads, in order.
        predictor: What answers: a `Constant`, `Number`, `Forest`, `Linear`, `Prepared`, `Shares` or `Trees`, or one of these
            behind a `Calibrated`; of several numbers a row `Constants`, `Joined` or `Trees`.
        outputs: Names of what it answers, in order, where that is several: the classes, for one.

    Raises:
        InvalidDefinitionError: if the predictor is no predictor, or was made for other columns or outputs.

    Example:
        >>> model = Model((Column("distance", "number"),), Constant(0.25))
        >>> Model.from_bytes(model.to_bytes()) == model
        True
        >>> model.predict_rows([{"distance": 95.0}])
        array([0.25])
        >>> Model((), Constants((0.25, 0.75)), ("AA", "UA")).predict_rows([{}]).tolist()
        [[0.25, 0.75]]
    """

    columns: tuple[Column, ...]
    predictor: Predictor
    outputs: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not isinstance(innermost(self.predictor), _PLAIN):
            raise InvalidDefinitionError(
                f"{type(self.predictor).__name__} is no predictor. A model is data: return Constant(probability), "
                "Number(value), Linear(intercept, terms) or Trees(booster.model_to_string()), all in sterling.models."
            )
        names = [column.name for column in self.columns]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise InvalidDefinitionError(f"Two columns of a model are called {twice[0]!r}.")
        self.predictor.check(self.columns)
        self._check_outputs()

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the features."""
        return tuple(column.name for column in self.columns)

    @property
    def ref(self) -> Ref:
        """The model's name: the hash of its bytes."""
        return ref_of(self.to_bytes())

    def predict(self, matrix: Matrix) -> Probabilities:
        """Answer to each encoded row: shape (rows,), or (rows, outputs) where it has several.

        Args:
            matrix: Shape (rows, columns), as the columns encode it.

        Raises:
            DataError: if the predictor answers with something else than it says, such as what is no probability.
        """
        answers = self.predictor.predict(matrix)
        if reason := refusal(self.predictor.answers, answers):
            raise DataError(reason)
        return answers

    def predict_rows(self, rows: Sequence[Mapping[str, Any]]) -> Probabilities:
        """Answer to each row of named values; see `encode_rows`."""
        return self.predict(encode_rows(self.columns, rows))

    def to_bytes(self) -> bytes:
        """The model's canonical bytes.

        JSON numbers hold every finite double exactly, but for -0.0, which becomes 0.
        """
        columns = [_column_document(column) for column in self.columns]
        outputs = {"outputs": list(self.outputs)} if self.outputs else {}
        return canonical({"format": FORMAT, "columns": columns, "predictor": self.predictor.document(), **outputs})

    @classmethod
    def from_bytes(cls, data: bytes) -> Model:
        """Read what `to_bytes` wrote; no code runs.

        Raises:
            DataError: if the bytes are no model, or are not in their canonical form.
        """
        document = _document(data)
        form = _form_of(document.get("predictor"))
        try:
            columns = tuple(
                Column(column["name"], column["kind"], tuple(column.get("categories", ())))
                for column in document["columns"]
            )
            model = cls(columns, _predictor_from(document["predictor"]), tuple(document.get("outputs", ())))
        except (KeyError, TypeError) as error:
            raise DataError(f"The model's {form} predictor or its columns are not whole: {error!r}.") from error
        if model.to_bytes() != data:
            raise DataError("The model is not in its canonical form, so its bytes do not name it. Write it again.")
        return model

    def _check_outputs(self) -> None:
        wanted = self.predictor.outputs if self.predictor.answers in SEVERAL else 0
        if len(self.outputs) != wanted:
            raise InvalidDefinitionError(
                f"The predictor has {wanted} outputs with names of their own, not {len(self.outputs)}."
            )
        if len(set(self.outputs)) < wanted or not all(isinstance(name, str) and name for name in self.outputs):
            raise InvalidDefinitionError("The outputs of a model have names, each another.")


def _form_of(document: Any) -> str:
    form = document.get("type") if isinstance(document, dict) else None
    if form not in _FORMS:
        raise DataError(f"The model's predictor is a {form!r}. Known: {', '.join(sorted(_FORMS))}.")
    return str(form)


def _predictor_from(document: Mapping[str, Any]) -> Predictor:
    return _FORMS[_form_of(document)](document)


def training_columns(names: Sequence[str], vocabularies: Mapping[str, Sequence[str]]) -> tuple[Column, ...]:
    """Columns from the categories that training saw; a name without any is a number.

    Example:
        >>> [column.kind for column in training_columns(["distance", "carrier"], {"carrier": ["UA", "AA"]})]
        ['number', 'category']
    """
    return tuple(
        Column(name, "category", tuple(sorted(vocabularies[name]))) if name in vocabularies else Column(name, "number")
        for name in names
    )


def _document(data: bytes) -> dict[str, Any]:
    if data[:1] != b"{":
        what = "It looks like a pickle, which is never loaded. " if data[:1] == b"\x80" else ""
        raise DataError(f"These bytes are no model. {what}A model is a canonical JSON document, {FORMAT}.")
    try:
        document: dict[str, Any] = json.loads(data)
    except ValueError as error:
        raise DataError(f"These bytes are no model: {error}.") from error
    if document.get("format") != FORMAT:
        raise DataError(f"The model's format is {document.get('format')!r}. This version reads {FORMAT!r}.")
    return document


def _column_document(column: Column) -> dict[str, Any]:
    document: dict[str, Any] = {"name": column.name, "kind": column.kind}
    return document | {"categories": list(column.categories)} if column.kind == "category" else document
