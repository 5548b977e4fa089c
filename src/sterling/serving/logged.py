"""From the prediction log to the store: closed segments become refs, and outcomes are joined to what was predicted."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from sterling.core.clock import from_micros, iso
from sterling.core.elsewhere import without_erased
from sterling.core.errors import ConflictError, ErasedError
from sterling.core.evidence import Entry, Evidence, Query
from sterling.core.ledger import Ledger
from sterling.core.lock import together
from sterling.core.refs import Ref
from sterling.core.store import Store
from sterling.core.workspace import Workspace
from sterling.engine.tables import put_table, read_parquet, read_table
from sterling.serving.outcomes import FEEDBACK, OUTCOMES, TYPES, Outcomes
from sterling.serving.prediction_log import close_abandoned
from sterling.serving.segments import convert, segments

LOGGED, JOINED = "predictions.logged", "outcomes.joined"
_MICROS = pa.timestamp("us", tz="UTC")
_ARROW = {"string": pa.string(), "int32": pa.int32(), "double": pa.float64(), "timestamp[us, tz=UTC]": _MICROS}


class Kept(NamedTuple):
    """What is on record of predictions and their outcomes.

    Attributes:
        logged: The ``predictions.logged`` entries, oldest first.
        new: How many of them are new.
        joined: The newest ``outcomes.joined`` entry, or None where nothing was predicted.
    """

    logged: tuple[Entry, ...]
    new: int
    joined: Entry | None


def keep_predictions(ledger: Ledger, workspace: Workspace) -> Kept:
    """Put closed segments and what became of them into the store, and say so in the ledger.

    Files that a server writes at this moment are left to it. Doing it again does nothing where nothing is new.

    Args:
        ledger: The project's chain.
        workspace: Its workspace.
    """
    with together(workspace.lock):
        store = workspace.store()
        if workspace.predictions.is_dir():
            close_abandoned(workspace.predictions)
            convert(workspace.predictions)
        new = [_keep(ledger, store, path) for path in segments(workspace.predictions)]
        logged = tuple(ledger.read(Query((LOGGED,))))
        return Kept(logged, sum(new), _join(ledger, without_erased(store, ledger), logged, workspace))


def _keep(ledger: Ledger, store: Store, path: Path) -> bool:
    """Put a segment into the store, record it, and remove the file; whether it is new."""
    table = read_parquet(path)
    ref, at = put_table(store, table), pc.min_max(table["_at"])
    subjects = tuple(f"version:{version}" for version in sorted(pc.unique(table["_version"]).to_pylist()))
    body = {
        "segment": path.stem, "ref": ref, "rows": table.num_rows, "requests": pc.count_distinct(table["_request_id"]).as_py(),
        "from": _iso(at["min"]), "to": _iso(at["max"]), "fallbacks": table.num_rows - table["_fallback"].null_count,
    }  # fmt: skip
    same = Query((LOGGED,), (f"segment:{path.stem}",))
    new = False
    with suppress(ConflictError):
        ledger.append([Evidence(LOGGED, (f"segment:{path.stem}", *subjects), body)], unless=same)
        new = True
    path.unlink(missing_ok=True)
    return new


def _join(ledger: Ledger, store: Store, logged: tuple[Entry, ...], workspace: Workspace) -> Entry | None:
    """What was predicted with what became of it, as one table; recorded where it is another one than before."""
    newest = next(ledger.read(Query((JOINED,)), newest_first=True), None)
    predicted = list(_tables(store, logged))
    if not predicted or not workspace.outcomes.exists():
        return newest
    taken = Outcomes(workspace.outcomes)
    outcomes, feedback = (_table(taken, kind) for kind in (OUTCOMES, FEEDBACK))
    taken.close()
    joined = join(pa.concat_tables(predicted, promote_options="default"), outcomes)
    refs = {
        "ref": put_table(store, joined),
        "outcomes": put_table(store, outcomes),
        "feedback": put_table(store, feedback),
    }
    if newest is not None and all(newest.body[name] == ref for name, ref in refs.items()):
        return newest
    known = joined.num_rows - joined["_outcomes"].null_count
    counts = {"rows": joined.num_rows, "known": known, "said": outcomes.num_rows, "complaints": feedback.num_rows}
    ledger.append([Evidence(JOINED, (), {**refs, **counts})])
    return next(ledger.read(Query((JOINED,)), newest_first=True))


def join(predicted: pa.Table, outcomes: pa.Table) -> pa.Table:
    """Predictions with their outcomes.

    An outcome with a request id is about that request's row; one with a unit is about the last prediction of that unit
    until its time. Of several about one prediction the one that came last counts.

    Args:
        predicted: Rows of segments.
        outcomes: Rows as they were taken, with ``_received``.

    Returns:
        The same rows in the same order, with ``_outcome`` (a number), ``_label`` (a class), ``_outcome_at``,
        ``_outcome_received``, and ``_outcomes``, how many were said.
    """
    import duckdb

    with duckdb.connect() as db:
        db.execute("SET TimeZone = 'UTC'")
        db.register("predicted", predicted.append_column("_place", pa.array(range(predicted.num_rows))))
        db.register("outcomes", outcomes.append_column("_order", pa.array(range(outcomes.num_rows))))
        found: pa.Table = db.sql(_JOIN).to_arrow_table()
    return found.drop_columns(["_place"]).cast(pa.schema([*predicted.schema, *_SAID]))


_SAID = (
    pa.field("_outcome", pa.float64()), pa.field("_label", pa.string()), pa.field("_outcome_at", _MICROS),
    pa.field("_outcome_received", _MICROS), pa.field("_outcomes", pa.int64()),
)  # fmt: skip
_JOIN = """
WITH about AS (
    SELECT p._place, o.* FROM outcomes o JOIN predicted p ON p._request_id = o.request_id AND p._row = o.row
    UNION ALL BY NAME
    SELECT p._place, o.* FROM (SELECT * FROM outcomes WHERE unit IS NOT NULL) o
        ASOF JOIN predicted p ON p._unit = o.unit AND o.at >= p._at),
said AS (
    SELECT _place, arg_max(struct_pack(o := outcome, l := label, a := "at", r := _received), _order) AS s, count(*) AS _outcomes
    FROM about GROUP BY _place)
SELECT p.*, s.o AS _outcome, s.l AS _label, s.a AS _outcome_at, s.r AS _outcome_received, _outcomes
FROM predicted p LEFT JOIN said USING (_place) ORDER BY _place
"""


def _tables(store: Store, logged: tuple[Entry, ...]) -> Iterator[pa.Table]:
    """Segments as they are now; one that was erased is left out."""
    for entry in logged:
        with suppress(ErasedError):
            yield read_table(store, Ref(entry.body["ref"]))


def _table(taken: Outcomes, kind: str) -> pa.Table:
    rows = list(taken.rows(kind))
    columns: dict[str, pa.Array] = {}
    for name, said in TYPES[kind].items():
        values: list[Any] = [row.get(name) for _, row in rows]
        found = pa.array(values, pa.string() if said.startswith("timestamp") else _ARROW[said])
        columns[name] = pc.cast(found, _ARROW[said]) if said.startswith("timestamp") else found
    return pa.table(columns | {"_received": pa.array([received for received, _ in rows], _MICROS)})


def _iso(at: Any) -> str:
    return iso(from_micros(at.cast(pa.int64()).as_py()))
