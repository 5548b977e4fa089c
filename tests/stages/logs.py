"""Random logs of events, with corrections or without, and a naive join that says what each window holds."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction
from typing import Any

import duckdb
import pyarrow as pa
from hypothesis import strategies as st

from sterling.core.refs import Ref
from sterling.project.sources import EventSource
from sterling.project.spine import EventSpine, Label
from tests.stages.bench import FAR, TIME, Bench, at, us

hours = st.integers(0, 30).map(float)
times = st.one_of(st.none(), hours)
keys = st.sampled_from(["a", "a", "a", "b", "once", None])
floats = st.one_of(st.none(), st.sampled_from([1e17, 1.0, 2.0, -0.0, 0.0, -3.5, 0.1, 1e-9]), st.floats(-1e6, 1e6))
wholes = st.one_of(st.none(), st.integers(-5, 5), st.sampled_from([2**53 + 1, -(2**53) - 1]))
decimals = st.one_of(
    st.none(), st.sampled_from(["0.10000", "-0.30000", "123456789012345678901234567890.12345", "-99999999999.00001"])
)
tags = st.sampled_from(["x", "y", None])
flags = st.sampled_from([True, False, None])
event = st.tuples(
    st.integers(0, 7), keys, st.integers(0, 1), hours, times, times, times, floats, wholes, decimals, flags, tags,
    st.sampled_from([False, False, False, True, None]),
)  # fmt: skip
logs = st.lists(event, max_size=24)
moments = st.lists(st.tuples(keys, st.integers(0, 1), hours), min_size=1, max_size=12)

_KINDS = {
    "id": pa.string(), "k": pa.string(), "n": pa.int64(), "v": pa.float64(), "w": pa.int64(),
    "d": pa.decimal128(38, 5), "f": pa.bool_(), "tag": pa.string(), "gone": pa.bool_(), "seq": pa.int64(),
}  # fmt: skip
VALUES = ("v", "w", "d", "f", "tag")
_FIELDS: dict[str, Any] = {
    "event_id": "id", "event_time": "happened", "available_at": "available", "entities": ["k", "n"],
    "columns": ["k", "n", "happened", "w", "d", "f", "tag"], "known": {"v": "v_known", "ended": "ended_known"},
}  # fmt: skip
APPENDED = EventSource("log", "log.parquet", **_FIELDS)
REPLACED = EventSource("log", "log.parquet", updates="replace", version="seq", deleted="gone", **_FIELDS)
SOURCES = {"append": APPENDED, "replace": REPLACED}
BASE = EventSource(
    "base", "base.parquet", event_id="id", event_time="t", available_at="t - INTERVAL 9 HOUR", entities=["k", "n"]
)
SPINE = EventSpine(BASE, "t")
KNOWN = {"v": ["available", "v_known"]}


def log_table(rows: list[Any], updates: str) -> pa.Table:
    names = ["id", "k", "n", "happened", "available", "v_known", "ended", "v", "w", "d", "f", "tag", "gone"]
    columns: dict[str, list[Any]] = {name: [row[index] for row in rows] for index, name in enumerate(names)}
    columns["ended_known"] = [
        None if e is None or a is None else e + 1 for e, a in zip(columns["ended"], columns["available"], strict=True)
    ]
    columns["d"] = [None if d is None else Decimal(d) for d in columns["d"]]
    columns["seq"] = list(range(len(rows)))
    columns["id"] = [f"e{i if updates == 'replace' else n}" for n, i in enumerate(columns["id"])]
    if updates == "append":
        columns["gone"] = [False] * len(rows)
    return pa.table(
        {
            name: pa.array(
                [at(cell) if name not in _KINDS and cell is not None else cell for cell in cells],
                _KINDS.get(name, TIME),
            )
            for name, cells in columns.items()
        }
    )


def base_table(rows: list[Any]) -> pa.Table:
    return pa.table(
        {
            "id": [f"m{index}" for index in range(len(rows))],
            "k": pa.array([row[0] for row in rows], pa.string()),
            "n": [row[1] for row in rows],
            "t": pa.array([at(row[2]) for row in rows], TIME),
        }
    )


class Case:
    """One log and its moments, as stages get them and as the naive join does."""

    def __init__(self, bench: Bench, log: list[Any], at_moments: list[Any], updates: str, as_of: int = FAR) -> None:
        source = SOURCES[updates]
        raw, base = log_table(log, updates), base_table(at_moments)
        clean = {"clean:log": bench.clean(source, raw, as_of), "clean:base": bench.clean(BASE, base, as_of)}
        spine = bench.spine(SPINE, Label("w > 0", source, horizon="1d"), clean, as_of).outputs["spine"]
        self.inputs: dict[str, Ref] = {**clean, "spine": spine}
        numbered = bench.table(spine)
        own = bench.table(clean["clean:base"]).take(numbered.column("row"))
        self._session = duckdb.connect()
        micros = ", ".join(
            f"epoch_us({name}) AS {name}" if kind == TIME else name
            for name, kind in zip(raw.schema.names, raw.schema.types, strict=True)
        )
        self._session.register("raw", raw)
        self._session.execute(f"CREATE TABLE log AS SELECT {micros} FROM raw")
        self._session.register(
            "moments",
            pa.table({"i": range(numbered.num_rows), "t": numbered.column("predict_at"), "k": own["k"], "n": own["n"]}),
        )

    def windows(self, wanted: dict[str, tuple[str, str]], *, blind: bool = False) -> dict[str, list[list[Any]]]:
        """For each name an expression and a condition: the values of the events that meet it, for each moment.

        With ``blind`` as a join would have it that knows nothing of availability: the newest version counts always.
        """
        different = {pair: f"c{number}" for number, pair in enumerate(dict.fromkeys(wanted.values()))}
        lists = ", ".join(
            f"list({what} ORDER BY happened, available, id, seq) FILTER ({what} IS NOT NULL AND newest AND ({condition})) AS {name}"
            for (what, condition), name in different.items()
        )
        newer = (
            f"EXISTS (SELECT 1 FROM log AS later WHERE later.id = log.id AND later.available < {'9e18' if blind else 't'} AND "
            "(later.available > log.available OR (later.available = log.available AND later.seq > log.seq)))"
        )
        found = self._session.sql(
            f"WITH pairs AS (SELECT i, t, log.*, NOT coalesce(gone, FALSE) AND NOT {newer} AS newest "
            "FROM moments LEFT JOIN log ON moments.k = log.k AND moments.n = log.n) "
            f"SELECT {lists} FROM pairs GROUP BY i ORDER BY i"
        ).to_arrow_table()
        cells = {pair: [cell or [] for cell in found.column(name).to_pylist()] for pair, name in different.items()}
        return {name: cells[pair] for name, pair in wanted.items()}


def inside(kind: str, hours_long: int | None, known: list[str]) -> str:
    """The window rule, as it is written down."""
    clock = f"greatest({', '.join(known)})" if len(known) > 1 else known[0]
    available = " AND ".join(f"{name} IS NOT NULL AND {name} < t" for name in known)
    size = us(hours_long or 100_000)
    rule = {
        "past": f"t - {size} <= happened AND happened < t",
        "known": f"t - {size} <= {clock}",
        "ahead": f"t <= happened AND happened < t + {size}",
    }[kind]
    return f"{available} AND {rule}"


def inside_blind(kind: str, hours_long: int | None, known: list[str]) -> str:
    """The window rule of a join on the time of the event alone, of what was ever known."""
    size = us(hours_long or 100_000)
    forward = f"t <= happened AND happened < t + {size}"
    ever = " AND ".join(f"{name} IS NOT NULL" for name in known)
    return f"{ever} AND {forward if kind == 'ahead' else f't - {size} <= happened AND happened < t'}"


def exact(values: list[Any]) -> list[Any]:
    """Numbers as fractions."""
    return [value if isinstance(value, str) else Fraction(value) for value in values]
