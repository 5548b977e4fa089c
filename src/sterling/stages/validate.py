"""Validate: what is not known at as_of is hidden, and what breaks a rule is quarantined, nulled, or stops the run.

| stage | inputs | outputs |
|---|---|---|
| `Validate` | ``snapshot``, ``as_of``, ``snapshot:<source>`` for each source that a `References` names | ``clean``, and ``quarantine`` where rows failed |

The clean table has the snapshot's columns and order. The quarantine has the rows that failed, as they were, and in
``_failed`` the checks that they failed.
"""

# ruff: noqa: S608  names are quoted

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from sterling.core.errors import DataError, InvalidDefinitionError, nearest
from sterling.core.evidence import Evidence
from sterling.core.refs import Ref
from sterling.engine.tables import put_table, read_table
from sterling.features.availability import AVAILABLE_AT, EVENT_ID, EVENT_TIME, VALID_TO, Source
from sterling.project.checks import Check, Fresh, InRange, NotNull, OneOf, References, Unique
from sterling.project.sources import EntitySource, EventSource
from sterling.project.sql import quoted, quoted_text
from sterling.project.times import micros
from sterling.stages.contract import Context, Outcome, Stage
from sterling.stages.snapshot import read_as_of

FAILED = "_failed"
_MASKED = NDArray[np.bool_]
RowCheck = NotNull | InRange | OneOf | Unique | References


class Validate(Stage, frozen=True):
    """Hide what is not known at as_of, and hold the rest against the source's checks.

    Args:
        source: The source; its checks are taken, its file and documentation left out.
        checks: What must hold; those of the source.
    """

    source: EventSource | EntitySource
    checks: tuple[Check, ...] = ()

    @property
    def libraries(self) -> tuple[str, ...]:
        """Distributions that the result depends on."""
        return ("duckdb", "pyarrow")

    def __post_init__(self) -> None:
        msgspec.structs.force_setattr(self, "checks", self.checks or self.source.checks)
        super().__post_init__()

    @property
    def title(self) -> str:
        """The step as people read it."""
        return f"validate {self.source.name}"

    def __call__(self, inputs: Mapping[str, Ref], context: Context) -> Outcome:
        """Check every row that is known, in one scan."""
        as_of = read_as_of(inputs["as_of"], context)
        whole = read_table(context.store, inputs["snapshot"])
        known, hidden_cells = known_at(whole, as_of)
        rules = [check for check in self.checks if not isinstance(check, Fresh)]
        failed = _failures(self.source, rules, known, inputs, context, as_of)
        self._refuse(rules, failed, known, as_of)
        clean, quarantined = _settle(rules, failed, known)
        outputs = {"clean": inputs["snapshot"] if clean.equals(whole) else put_table(context.store, clean)}
        if quarantined.num_rows:
            outputs["quarantine"] = put_table(context.store, quarantined)
        body = {
            "source": self.source.name,
            "ref": outputs["clean"],
            "rows": clean.num_rows,
            "hidden_rows": whole.num_rows - known.num_rows,
            "hidden_cells": hidden_cells,
            "quarantined": quarantined.num_rows,
            "quarantine": outputs.get("quarantine"),
            "checks": [_measured(rule, mask) for rule, mask in zip(rules, failed, strict=True)]
            + [_fresh(check, known, as_of)[0] for check in self.checks if isinstance(check, Fresh)],
        }
        return Outcome(outputs, (Evidence("data.validated", (f"source:{self.source.name}",), body),))

    def _refuse(self, rules: Sequence[RowCheck], failed: Sequence[_MASKED], known: pa.Table, as_of: int) -> None:
        """Stop where a rule is broken by more rows than it allows; the sentence has the counts and no values."""
        broken = [_sentence(rule, mask) for rule, mask in zip(rules, failed, strict=True) if _stops(rule, mask)]
        for check in self.checks:
            if isinstance(check, Fresh):
                _, sentence = _fresh(check, known, as_of)
                broken += [sentence] if sentence else []
        if broken:
            raise DataError(f"{self.source.name}: {' '.join(broken)}")


def known_at(snapshot: pa.Table, as_of: int) -> tuple[pa.Table, int]:
    """What of a snapshot is known at a time.

    Args:
        snapshot: Rows with their clocks.
        as_of: The time in microseconds.

    Returns:
        The rows that are available by then, with every cell that becomes known later, or never, null, and its clock
        too; and how many cells with a value were hidden.
    """
    table = snapshot.filter(pc.less_equal(snapshot.column(AVAILABLE_AT), as_of))
    hidden_cells = 0
    for clock in [name for name in table.schema.names if name.startswith("_known_") or name == VALID_TO]:
        known = pc.fill_null(pc.less_equal(table.column(clock), as_of), False)
        column = clock.removeprefix("_known_")
        if column != clock:
            hidden_cells += pc.sum(pc.and_(pc.invert(known), pc.is_valid(table.column(column)))).as_py() or 0
            table = _masked(table, column, known)
        table = _masked(table, clock, known)
    return table.combine_chunks(), hidden_cells


def _masked(table: pa.Table, column: str, keep: pa.ChunkedArray) -> pa.Table:
    index = table.schema.get_field_index(column)
    cells = table.column(index)
    return table.set_column(index, column, pc.if_else(keep, cells, pa.scalar(None, cells.type)))


def _failures(
    source: Source, rules: Sequence[RowCheck], known: pa.Table, inputs: Mapping[str, Ref], context: Context, as_of: int
) -> list[_MASKED]:
    """For each rule the rows that break it."""
    if not rules:
        return []
    tables: dict[str, pa.Table] = {"known": known.append_column("_row", pa.array(np.arange(known.num_rows)))}
    conditions = []
    for index, rule in enumerate(rules):
        for column in rule.columns if isinstance(rule, Unique) else (rule.column,):
            if column not in known.schema.names:
                raise InvalidDefinitionError(
                    f"{source.name}: {_title(rule)} checks {column!r}, which the source does not list. "
                    f"{nearest(column, _listed(known))}"
                )
        if isinstance(rule, References):
            other = read_table(context.store, inputs[f"snapshot:{rule.source}"])
            if rule.key not in other.schema.names:
                raise InvalidDefinitionError(
                    f"{source.name}: {_title(rule)}: {rule.source} lists no column {rule.key!r}. {nearest(rule.key, _listed(other))}"
                )
            tables[f"other_{index}"] = known_at(other, as_of)[0].select([rule.key])
        conditions.append(f"({_condition(rule, index)}) AS f{index}")
    flags = context.engine.query(f"SELECT {', '.join(conditions)} FROM known ORDER BY _row", tables)
    return [pc.fill_null(column, False).to_numpy() for column in flags.columns]


def _listed(table: pa.Table) -> list[str]:
    return [name for name in table.schema.names if not name.startswith("_")]


def _condition(rule: RowCheck, index: int) -> str:
    """Whether a row breaks a rule, in SQL."""
    match rule:
        case NotNull():
            return f"{quoted(rule.column)} IS NULL"
        case InRange():
            return f"{quoted(rule.column)} NOT BETWEEN {rule.low!r} AND {rule.high!r}"
        case OneOf():
            values = ", ".join(quoted_text(value) if isinstance(value, str) else str(value) for value in rule.values)
            return f"{quoted(rule.column)} NOT IN ({values})"
        case Unique():
            columns = ", ".join(map(quoted, rule.columns))
            given = " AND ".join(f"{quoted(column)} IS NOT NULL" for column in rule.columns)
            order = f"{EVENT_TIME}, {AVAILABLE_AT}, {EVENT_ID}"
            return f"{given} AND row_number() OVER (PARTITION BY {columns} ORDER BY {order}) > 1"
        case References():
            other = f"SELECT {quoted(rule.key)} FROM other_{index} WHERE {quoted(rule.key)} IS NOT NULL"
            return f"{quoted(rule.column)} NOT IN ({other})"


def _settle(rules: Sequence[RowCheck], failed: Sequence[_MASKED], known: pa.Table) -> tuple[pa.Table, pa.Table]:
    """The rows that stay, with cells out of range null; and those that go, with the checks that they failed."""
    dismissing = [(rule, mask) for rule, mask in zip(rules, failed, strict=True) if not isinstance(rule, InRange)]
    dismissed = np.zeros(known.num_rows, bool)
    clean = known
    for rule, mask in zip(rules, failed, strict=True):
        if isinstance(rule, InRange):
            clean = _masked(clean, rule.column, pa.chunked_array([~mask]))
    for _, mask in dismissing:
        dismissed |= mask
    reasons = ["; ".join(_title(rule) for rule, mask in dismissing if mask[row]) for row in np.flatnonzero(dismissed)]
    quarantined = known.filter(pa.array(dismissed)).append_column(FAILED, pa.array(reasons, pa.string()))
    return clean.filter(pa.array(~dismissed)), quarantined


def _measured(rule: RowCheck, mask: _MASKED) -> dict[str, Any]:
    failed, rows = int(mask.sum()), len(mask)
    action = "none" if not failed else "nulled" if isinstance(rule, InRange) else "quarantined"
    return {
        "check": _title(rule),
        "column": ", ".join(rule.columns) if isinstance(rule, Unique) else rule.column,
        "failed": failed,
        "rows": rows,
        "share": failed / rows if rows else 0.0,
        "action": action,
        "max_share": rule.max_share,
    }


def _stops(rule: RowCheck, mask: _MASKED) -> bool:
    failed = int(mask.sum())
    return failed > 0 and (rule.stop or failed > rule.max_share * len(mask))


def _sentence(rule: RowCheck, mask: _MASKED) -> str:
    failed, rows = int(mask.sum()), len(mask)
    nulls = isinstance(rule, InRange)
    fate = f"{'null those cells' if nulls else 'quarantine those rows'}"
    allowed = (
        "stop=True allows none" if rule.stop else f"max_share={rule.max_share:g} allows {int(rule.max_share * rows):,}"
    )
    remedy = f"set stop=False to {fate}" if rule.stop else f"raise max_share to {fate}"
    return (
        f"{_title(rule)} fails in {failed:,} of {rows:,} rows ({failed / rows:.3%}), and {allowed}. "
        f"Mend the data, or {remedy}."
    )


def _fresh(check: Fresh, known: pa.Table, as_of: int) -> tuple[dict[str, Any], str | None]:
    newest = pc.max(known.column(AVAILABLE_AT)).as_py()
    late = newest is None or as_of - newest > micros(check.within)
    body = {
        "check": f"Fresh({check.within!r})", "column": None, "failed": int(late), "rows": 1, "share": float(late),
        "action": "none", "max_share": 0.0,
    }  # fmt: skip
    if not late:
        return body, None
    age = "no row is known" if newest is None else f"the newest row is {(as_of - newest) / 3.6e9:,.1f} hours old"
    return body, f"Fresh({check.within!r}) fails: at as_of {age}. Load newer data, or allow more with within=."


def _title(rule: RowCheck) -> str:
    """A check as the project writes it, without what it tolerates."""
    match rule:
        case NotNull():
            return f"NotNull({rule.column!r})"
        case InRange():
            return f"InRange({rule.column!r}, {rule.low:g}, {rule.high:g})"
        case OneOf():
            return f"OneOf({rule.column!r}, {len(rule.values)} values)"
        case Unique():
            return f"Unique({', '.join(map(repr, rule.columns))})"
        case References():
            return f"References({rule.column!r}, {rule.source}.{rule.key})"
