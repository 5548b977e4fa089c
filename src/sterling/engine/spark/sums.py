"""What can be taken back, as SQL: counts, sums and different values, from one running sum over events and moments.

Every event enters at ``lo`` with its values and leaves at ``hi`` with their negatives; at equal times moments come first,
so that all comparisons are strict. One sort by key and time serves all lanes, and lateness costs nothing.
"""

# ruff: noqa: S608  names are our own, and what people wrote is translated from an allow-list

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from sterling.engine.spark.digits import (
    BITS,
    Number,
    carried,
    highest,
    negative,
    normalized,
    padding,
    quotient,
    rounded,
    rounded_at,
    spread,
    squares,
    whole,
)  # fmt: skip
from sterling.engine.spark.row_sql import name as quoted
from sterling.engine.spark.row_sql import text_literal

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

MOST_LANES = 60
"""Lanes of one query: each has a bit of a BIGINT."""
_NEVER = (1 << 63) - 1
_TEN = 10**10


class Lane(NamedTuple):
    """Where events are inside: for moments t in (lo, hi].

    Attributes:
        lo: SQL over the events, in microseconds; null for never.
        hi: The same.
    """

    lo: str
    hi: str


class Sum(NamedTuple):
    """One feature that running sums answer.

    Attributes:
        name: Its name.
        lane: Number of its lane.
        chosen: Whether an event is read, as SQL.
        what: What is asked for.
        number: The values; None where events are counted.
        distinct: The values that are told apart, as SQL.
        budget: How many different values are allowed, and what an error says of more.
    """

    name: str
    lane: int
    chosen: str
    what: Literal["count", "sum", "mean", "variance", "distinct"]
    number: Number | None = None
    distinct: str | None = None
    budget: tuple[int, str] | None = None


def running(
    events: DataFrame, moments: DataFrame, keys: Sequence[str], lanes: Sequence[Lane], cells: Sequence[Sum]
) -> DataFrame:
    """The features of each different moment.

    Args:
        events: The events; the lanes and cells read their columns.
        moments: Each different moment: ``_k0``, … and ``_t``.
        keys: SQL of the keys over the events.
        lanes: Where events are inside.
        cells: The features.

    Returns:
        ``_k0``, …, ``_t`` and the features.
    """
    return _Sums(keys, lanes, cells).frame(events, moments)


class _Sums:
    def __init__(self, keys: Sequence[str], lanes: Sequence[Lane], cells: Sequence[Sum]) -> None:
        self._keys = [f"_k{i}" for i in range(len(keys))]
        self._key_sql, self._lanes, self._cells = keys, lanes, cells
        self._bits = {lane: 1 << i for i, lane in enumerate(sorted({cell.lane for cell in cells}))}
        self._groups = list(dict.fromkeys((c.chosen, c.number) for c in cells if c.what != "distinct"))
        self._numbers = list(dict.fromkeys(number for _, number in self._groups if number))
        self._asked: dict[str, str] = {}

    def frame(self, events: DataFrame, moments: DataFrame) -> DataFrame:
        spark = events.sparkSession
        parts = [self._moments()]
        inputs: dict[str, Any] = {"moments": moments}
        if self._groups:
            inputs["entries"] = self._entries(events)
            parts.append(self._columns("entries"))
        for position, cell in enumerate(self._cells):
            if cell.what == "distinct":
                inputs[f"d{position}"] = self._clipped(events, cell)
                parts.append(self._distinct(f"d{position}", cell))
        layers = self._layers()
        keys = ", ".join(self._keys)
        window = f"PARTITION BY {keys} ORDER BY _at, _event ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW"
        sums = ", ".join(f"SUM({what}) OVER w AS {alias}" for alias, what in self._asked.items())
        union = " UNION ALL ".join(parts)
        query = (
            f"SELECT {keys}, _at AS _t, {', '.join(self._asked)} FROM "
            f"(SELECT {keys}, _at, _event, {sums} FROM ({union}) WINDOW w AS ({window})) WHERE _event = 0"
        )
        found = spark.sql(query, **inputs)
        for layer in layers:
            found = found.selectExpr("*", *(f"{what} AS {alias}" for alias, what in layer.items()))
        return found.selectExpr(*self._keys, "_t", *(f"_f{i} AS {quoted(c.name)}" for i, c in enumerate(self._cells)))

    def _measures(self) -> list[str]:
        found = []
        for g, (_, number) in enumerate(self._groups):
            places = number.places if number else 0
            found += [f"c{g}", *(f"s{g}_{j}" for j in range(places))]
            found += [f"q{g}_{j}" for j in range(2 * places)] if number and self._squared(number) else []
        return found

    def _squared(self, number: Number) -> bool:
        return any(cell.number == number and cell.what == "variance" for cell in self._cells)

    def _entries(self, events: DataFrame) -> DataFrame:
        """The values of each event, twice for each lane: where it enters and where it leaves."""
        first = [f"{sql} AS {key}" for key, sql in zip(self._keys, self._key_sql, strict=True)]
        first += [f"{lane.lo} AS _lo{w}" for w, lane in enumerate(self._lanes)]
        first += [f"{lane.hi} AS _hi{w}" for w, lane in enumerate(self._lanes)]
        first += [f"CAST(coalesce({chosen}, FALSE) AS BIGINT) AS c{g}" for g, (chosen, _) in enumerate(self._groups)]
        first += [
            f"coalesce({digit}, 0L) AS d{n}_{j}"
            for n, number in enumerate(self._numbers)
            for j, digit in enumerate(number.digits())
        ]
        second = [*self._keys, f"explode({self._changes()}) AS _change", *(f"c{g}" for g in range(len(self._groups)))]
        for g, (_, number) in enumerate(self._groups):
            if number:
                own = [f"d{self._numbers.index(number)}_{j}" for j in range(number.places)]
                second += [f"c{g} * {digit} AS s{g}_{j}" for j, digit in enumerate(own)]
                if self._squared(number):
                    second += [f"c{g} * ({column}) AS q{g}_{j}" for j, column in enumerate(squares(own))]
        present = " AND ".join(f"{key} IS NOT NULL" for key in self._keys)
        chosen = " OR ".join(f"c{g} <> 0" for g in range(len(self._groups)))
        return events.selectExpr(*first).where(f"{present} AND ({chosen})").selectExpr(*second)

    def _changes(self) -> str:
        """When something changes, in which lanes, and by which sign."""
        used = {cell.lane for cell in self._cells if cell.what != "distinct"}
        inside = {w: f"CASE WHEN _lo{w} < _hi{w} THEN {self._bits[w]}L ELSE 0L END" for w in sorted(used)}
        enter: dict[str, list[int]] = {}
        for w in inside:
            enter.setdefault(self._lanes[w].lo, []).append(w)
        rows = [
            f"struct(_lo{ws[0]} AS at, {' + '.join(inside[w] for w in ws)} AS bits, 1L AS sign)"
            for ws in enter.values()
        ]
        rows += [f"struct(_hi{w} AS at, {bits} AS bits, -1L AS sign)" for w, bits in inside.items()]
        return f"filter(array({', '.join(rows)}), x -> x.bits <> 0 AND x.at < {_NEVER}L)"

    def _moments(self) -> str:
        nothing = ", ".join(f"0L AS {measure}" for measure in [*self._measures(), "one"])
        return f"SELECT {', '.join(self._keys)}, _t AS _at, 0 AS _event, 0L AS _bits, {nothing} FROM {{moments}}"

    def _columns(self, table: str) -> str:
        own = ", ".join(f"{measure} * _change.sign AS {measure}" for measure in self._measures())
        return (
            f"SELECT {', '.join(self._keys)}, _change.at AS _at, 1 AS _event, _change.bits AS _bits, "
            f"{own}, 0L AS one FROM {{{table}}}"
        )

    def _clipped(self, events: DataFrame, cell: Sum) -> DataFrame:
        """The stays of each value, cut so that no two of them overlap."""
        lane = self._lanes[cell.lane]
        keys = [f"{sql} AS {key}" for key, sql in zip(self._keys, self._key_sql, strict=True)]
        present = " AND ".join(f"{key} IS NOT NULL" for key in self._keys)
        stays = events.where(f"coalesce({cell.chosen}, FALSE)").selectExpr(
            *keys, f"{cell.distinct} AS _value", f"{lane.lo} AS _lo", f"{lane.hi} AS _hi"
        )
        window = f"PARTITION BY {', '.join(self._keys)}, _value ORDER BY _lo, _hi ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING"
        reached = f"greatest(_lo, max(_hi) OVER ({window})) AS _lo"
        return stays.where(f"{present} AND _lo < _hi").selectExpr(*self._keys, reached, "_hi").where("_lo < _hi")

    def _distinct(self, table: str, cell: Sum) -> str:
        keys, bit = ", ".join(self._keys), f"{self._bits[cell.lane]}L AS _bits"
        nothing = "".join(f"0L AS {measure}, " for measure in self._measures())
        changes = "explode(array(struct(_lo AS at, 1L AS sign), struct(_hi AS at, -1L AS sign))) AS _change"
        position = self._cells.index(cell)
        return (
            f"SELECT {keys}, _change.at AS _at, {2 + position} AS _event, {bit}, {nothing}_change.sign AS one "
            f"FROM (SELECT {keys}, {changes} FROM {{{table}}})"
        )

    def _running(self, lane: int, measure: str) -> str:
        """A running sum, named where it is used."""
        alias = f"r{lane}_{measure}"
        self._asked[alias] = f"CASE WHEN (_bits & {self._bits[lane]}L) <> 0 THEN {measure} ELSE 0L END"
        return alias

    def _layers(self) -> list[dict[str, str]]:
        """What is computed from the running sums, one step after the other."""
        made: list[dict[str, str]] = []
        for position, cell in enumerate(self._cells):
            for depth, layer in enumerate(self._steps(position, cell)):
                if depth == len(made):
                    made.append({})
                made[depth].update(layer)
        return made

    def _steps(self, position: int, cell: Sum) -> list[dict[str, str]]:
        answer = f"_f{position}"
        if cell.what == "distinct":
            alias = f"r_d{position}"
            self._asked[alias] = f"CASE WHEN _event = {2 + position} THEN one ELSE 0L END"
            assert cell.budget
            most, message = cell.budget
            over = f"raise_error(format_string({text_literal(message)}, {alias}))"
            return [{answer: f"CASE WHEN {alias} > {most}L THEN {over} ELSE {alias} END"}]
        group = self._groups.index((cell.chosen, cell.number))
        count = self._running(cell.lane, f"c{group}")
        if cell.what == "count":
            return [{answer: count}]
        number = cell.number
        assert number
        sums = [self._running(cell.lane, f"s{group}_{j}") for j in range(number.places)]
        if cell.what == "variance":
            squared = [self._running(cell.lane, f"q{group}_{j}") for j in range(2 * number.places)]
            steps = _variance(f"v{cell.lane}_{group}", number, count, sums, squared)
            return [*steps[:-1], {answer: _with(count, 2, steps[-1]["found"])}]
        if number.kind == "whole" and not number.tens:
            total = whole(sums)
            found = total if cell.what == "sum" else f"CAST({total} AS DOUBLE) / nullif({count}, 0)"
            return [{answer: _with(count, 1, found)}]
        steps = _total(f"t{cell.lane}_{group}", number, sums)
        total = f"({steps[-1]['found']})"
        found = total if cell.what == "sum" else f"{total} / nullif({count}, 0)"
        return [*steps[:-1], {answer: _with(count, 1, found)}]


def _with(count: str, least: int, found: str) -> str:
    return f"CASE WHEN {count} >= {least} THEN {found} END"


def _total(name: str, number: Number, sums: Sequence[str]) -> list[dict[str, str]]:
    """Steps to the double nearest to a sum; the last is called ``found``."""
    below = f"{name}_neg"
    places = {f"{name}_n{i}": digit for i, digit in enumerate(normalized(sums, below))}
    steps = [{below: negative(sums)}, places]
    if not number.tens:
        return [*steps, {"found": rounded(list(places), number.exponent, below)}]
    steps += _divided(name, f"array({', '.join(places)})", len(places), number.exponent, _tens(number.tens))
    found = steps[-1]["found"]
    return [*steps[:-1], {"found": f"(CASE WHEN {below} THEN -({found}) ELSE ({found}) END)"}]


def _variance(
    name: str, number: Number, count: str, sums: Sequence[str], squared: Sequence[str]
) -> list[dict[str, str]]:
    """Steps to the double nearest to a sample variance."""
    below, plain, square = f"{name}_neg", f"{name}_s", f"{name}_q"
    steps = [
        {below: negative(sums)},
        {plain: f"array({', '.join(normalized(sums, below))})", square: carried(f"array({', '.join(squared)})")},
        {f"{name}_a": spread(count, plain, square)},
        {f"{name}_n": carried(f"{name}_a")},
    ]
    divisors = [f"greatest({count}, 1L)", f"greatest({count} - 1L, 1L)", *_tens(2 * number.tens)]
    return steps + _divided(name, f"{name}_n", 2 * len(sums) + 6, 2 * number.exponent, divisors)


def _divided(name: str, digits: str, places: int, exponent: int, divisors: Sequence[str]) -> list[dict[str, str]]:
    """Steps of long division of an array of digits, and the rounding that ends them as ``found``."""
    size, rests, steps = padding(len(divisors)), list[str](), list[dict[str, str]]()
    digits = f"concat(array_repeat(0L, {size}), {digits})"
    for step, divisor in enumerate(divisors):
        steps.append({f"{name}_d{step}": quotient(digits, divisor)})
        digits = f"{name}_d{step}.made"
        rests.append(f"{name}_d{step}.left <> 0")
    steps.append({f"{name}_t": highest(digits)})
    rest = " OR ".join(rests)
    return [*steps, {"found": rounded_at(f"{name}_t", digits, places + size, exponent - BITS * size, rest)}]


def _tens(power: int) -> list[str]:
    """What decimals are divided by to put their point back."""
    return [f"{_TEN}L"] * (power // 10) + ([f"{10 ** (power % 10)}L"] if power % 10 else [])
