"""Features that the server computes for a request, by the very functions that the version was trained with."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sterling.core.canonical import digest
from sterling.core.code import CodeHash
from sterling.core.errors import DataError, FieldError, InvalidDefinitionError, TamperedLedgerError, in_row
from sterling.core.evidence import Entry, Query
from sterling.core.ledger import Ledger
from sterling.core.refs import Ref, ref_of, short
from sterling.core.store import Store
from sterling.features.on_demand import FunctionFailedError, Value, answer
from sterling.models import Column, Model
from sterling.project.definition import to_json
from sterling.project.features import OnDemand
from sterling.project.load import on_demand, supplied_code
from sterling.project.project import Project
from sterling.serving.in_time import TimedOutError, in_time

LIMIT_MS = 50
"""How long a function may take for one row."""
_WHOLE = frozenset({"int64", "int8"})


@dataclass(frozen=True, slots=True)
class Supplied:
    """A function that the project supplies, as it was when the server loaded it.

    Attributes:
        feature: The definition.
        code: The identity of its code.
    """

    feature: OnDemand
    code: CodeHash


def supplied_by(project: Project, folder: Path) -> tuple[Supplied, ...]:
    """The functions of a project that has just been loaded from its folder."""
    return tuple(Supplied(feature, supplied_code(feature, folder)[0]) for feature in on_demand(project))


@dataclass(frozen=True, slots=True)
class Computed:
    """A feature that is computed here.

    Attributes:
        feature: The definition.
        columns: Its inputs as the model reads them.
        whole: Names of the inputs that hold whole numbers or conditions.
    """

    feature: OnDemand
    columns: tuple[Column, ...]
    whole: frozenset[str]

    @property
    def name(self) -> str:
        """Name of the feature."""
        return self.feature.name

    @property
    def inputs(self) -> Sequence[str]:
        """Names of the features that it is computed from."""
        return self.feature.inputs

    def of(self, row: Mapping[str, Any]) -> float | None:
        """The feature of a row; None where an input is left out, so that the row's refusal names the input alone.

        In a process's main thread, where `sterling serve` answers, a function is interrupted at its limit; one that catches
        even that, or runs elsewhere, is refused when it has ended.

        Raises:
            DataError: if the row brings the feature, or an input of another kind than the model reads.
            FunctionFailedError: if the function fails, or took longer than `LIMIT_MS`.
        """
        if self.name in row:
            said = f"{self.name!r} is computed here from {', '.join(map(repr, self.inputs))}. Leave it out."
            raise FieldError(said, self.name, problem="unknown-field")
        if not row.keys() >= {*self.inputs}:
            return None
        values = [self._as_in_training(column, row[column.name]) for column in self.columns]
        try:
            with in_time(LIMIT_MS / 1000):
                return answer(self.feature, values)
        except TimedOutError:
            raise FunctionFailedError(
                f"The function of OnDemand {self.name!r} took longer than {LIMIT_MS} ms for one row."
            ) from None

    def _as_in_training(self, column: Column, value: Any) -> Value:
        """A value of a request as the type that the function was trained with; JSON writes 95.0 as 95 at will."""
        number = column.encode(value)
        if value is None or column.kind == "category":
            return None if value is None else str(value)
        return int(value) if column.name in self.whole and number.is_integer() else number


def fill(computed: Sequence[Computed], rows: Sequence[Mapping[str, Any]]) -> Sequence[Mapping[str, Any]]:
    """Rows with the features that are computed here.

    Raises:
        DataError: if a row brings such a feature, or an input of the wrong kind; the message names the row where there
            are several.
        FunctionFailedError: if a function fails on a row, or takes too long; named in the same way.
    """
    return [_filled(computed, rows, number) for number in range(len(rows))] if computed else rows


def _filled(computed: Sequence[Computed], rows: Sequence[Mapping[str, Any]], number: int) -> Mapping[str, Any]:
    row = rows[number]
    try:
        return {**row, **{item.name: item.of(row) for item in computed}}
    except DataError as error:
        raise in_row(error, number, len(rows)) from None


def computed_by(
    ledger: Ledger, store: Store, release: Entry, model: Model, supplied: Sequence[Supplied]
) -> tuple[Computed, ...]:
    """The features that are computed for a released version, if the project's functions are those of the version.

    Each function is called once with nulls, whatever it makes of them, so that the first request does not wait for what
    it imports.

    Args:
        ledger: Where the version and its training are recorded.
        store: Where the version's definition is.
        release: The release.
        model: The released model.
        supplied: The project's functions.

    Raises:
        InvalidDefinitionError: if a function that the version was trained with is missing or has changed.
        MissingBlobError: if the store does not hold the definition.
        TamperedLedgerError: if the store's bytes are not those of the definition.
    """
    defined = defined_by(ledger, store, release)
    wanted = (
        [item for item in defined["project"]["features"]["features"] if item["type"] == "OnDemand"] if defined else []
    )
    if not wanted:
        return ()
    types, columns = types_of(ledger, release.body["model"]), {column.name: column for column in model.columns}
    computed = []
    for item in wanted:
        feature = _same(item, defined["code"], supplied, release.body["version"])
        inputs = tuple(columns[name] for name in feature.inputs)
        computed.append(Computed(feature, inputs, frozenset(name for name in feature.inputs if types[name] in _WHOLE)))
        with suppress(FunctionFailedError):
            answer(feature, [None] * len(inputs))
    return tuple(computed)


def intact(store: Store, ref: Ref, what: str) -> bytes:
    """The bytes of a ref.

    Raises:
        MissingBlobError: if the store does not hold them.
        TamperedLedgerError: if the store's bytes are others.
    """
    data = store.open(ref).read_bytes()
    if ref_of(data) != ref:
        raise TamperedLedgerError(f"The bytes of {what} {short(ref)} are not those that its name says.")
    return data


def _same(item: Mapping[str, Any], codes: Sequence[Any], supplied: Sequence[Supplied], version: int) -> OnDemand:
    """The project's feature that is the version's, in definition and in code."""
    said = f"Version {version} was trained with the feature OnDemand {item['name']!r}"
    found = next((one for one in supplied if one.feature.name == item["name"]), None)
    if found is None:
        raise InvalidDefinitionError(
            f"{said}, which the project no longer has. Serve the project as it was, or release anew."
        )
    if digest(to_json(found.feature)) != digest(item):
        raise InvalidDefinitionError(
            f"{said}, whose function or inputs the project now names otherwise. Serve the project as it was, or release anew."
        )
    if found.code not in codes:
        raise InvalidDefinitionError(
            f"{said} by another code of {found.code['name']} than the project has now. Serve the project as it was, or run it "
            "and release the new version."
        )
    return found.feature


def defined_by(ledger: Ledger, store: Store, release: Entry) -> Any:
    """The definition that a released version was made by; None for a release of what was never registered."""
    version = Query(("model.registered",), (f"version:{release.body['version']}",))
    registered = next(ledger.read(version, newest_first=True), None)
    if registered is None:
        return None
    fact = next(ledger.read(Query(("project.defined",), (f"definition:{registered.body['definition']}",))))
    return json.loads(intact(store, Ref(fact.body["ref"]), "definition"))


def types_of(ledger: Ledger, model: str) -> dict[str, str]:
    """Types of the features in the frame that a model was trained on."""
    frame, assembled = frame_of(ledger, model), ledger.read(Query(("frame.assembled",)), newest_first=True)
    types: dict[str, str] = next(entry for entry in assembled if entry.body["ref"] == frame).body["types"]
    return types


def frame_of(ledger: Ledger, model: str) -> Ref:
    """The frame that a model was trained on."""
    trained = next(ledger.read(Query(("model.trained",), (f"model:{model}",)), newest_first=True))
    keys = tuple(subject for subject in trained.evidence.subjects if subject.startswith("key:"))
    completed = next(ledger.read(Query(("stage.completed",), keys)))
    return Ref(completed.body["identity"]["inputs"]["frame"])
