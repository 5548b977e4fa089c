"""A small project on data that are made here: 3,000 parcels, late more often from a busy depot."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from sterling.lifecycle import Result, run_project
from sterling.project.load import load_project

PROJECT = """
import sterling as sl

parcels = sl.Query("prepare.sql", inputs=["parcels.parquet"])
orders = sl.EventSource(
    "orders", parcels, event_id="parcel", event_time="ordered_at", available_at=sl.Delay("0m"),
    columns=["depot", "weight", "day", "ordered_at"], known={"delivered_at": "delivered_at"},
    checks=[sl.checks.NotNull("depot"), sl.checks.InRange("weight", 0, 100)],
)
deliveries = sl.EventSource(
    "deliveries", parcels, event_id="parcel", event_time="delivered_at", available_at=sl.Delay("0m")
)
busy = sl.FeatureView("busy", orders, entities=["depot"], features=[sl.Count(windows=["1d"])])
slow = sl.FeatureView("slow", deliveries, entities=["depot"], features=[sl.Mean("hours", windows=["3d"])])
project = sl.Project(
    "late-parcels",
    problem=sl.Problem(decision="warn the customer", kpi="complaints", owner="logistics"),
    spine=sl.EventSpine(orders, predict_at="ordered_at + INTERVAL 1 HOUR"),
    label=sl.Label("hours > 30", source=deliveries, horizon="7d"),
    cluster="day",
    features=sl.FeatureService([orders["depot", "weight"], busy, slow]),
    recipe=sl.Recipe(sl.LightGBM(trees=15, min_rows_per_leaf=20), baselines=[sl.Prior()]),
    holdout=sl.Holdout("2024-02-15", "2024-03-20"),
    gates=[
        sl.gates.Improves("log_loss", over="baseline"),
        sl.gates.NonInferior("roc_auc", margin=0.2),
        sl.gates.Golden("golden.jsonl"),
    ],
)
"""
SQL = "SELECT *, strftime(ordered_at, '%Y-%m-%d') AS day -- one row a parcel\nFROM parcels\n"
EXAMPLE = {"name": "a heavy parcel", "features": {"depot": "north", "weight": 90.0}, "at_least": 0.0}


def write_project(folder: Path, *, rows: int = 3000) -> Path:
    """Write the project and its data into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(0)
    ordered = np.sort(random.integers(0, 85 * 86400, rows)) + 1_704_067_200
    depot = random.choice(["north", "south", "east"], rows, p=[0.5, 0.3, 0.2])
    weight = np.round(random.gamma(2, 8, rows).clip(0.1, 99), 2)
    hours = np.round(12 + 14 * (depot == "north") + weight / 4 + random.gamma(2, 4, rows), 2)
    delivered = ordered + (hours * 3600).astype("int64")
    table = {
        "parcel": [f"p{n:05}" for n in range(rows)],
        "depot": depot,
        "weight": weight,
        "hours": hours,
        "ordered_at": pa.array(ordered * 1_000_000, pa.timestamp("us", "UTC")),
        "delivered_at": pa.array(delivered * 1_000_000, pa.timestamp("us", "UTC")),
    }
    pq.write_table(pa.table(table), folder / "parcels.parquet")
    (folder / "project.py").write_text(PROJECT)
    (folder / "prepare.sql").write_text(SQL)
    (folder / "golden.jsonl").write_text(json.dumps(EXAMPLE) + "\n")
    return folder


def write_task(folder: Path, task: str, gates: str, *, label: str, rows: int, trees: str) -> Path:
    """Write the project with another task, its label and gates, and the task's own baselines."""
    write_project(folder, rows=rows)
    text = (folder / "project.py").read_text()
    start, end = text.index("    gates=["), text.rindex(")")
    text = f"{text[:start]}    task={task}, {gates}{text[end:]}"
    for old, new in (('"hours > 30"', f'"{label}"'), (", baselines=[sl.Prior()]", ""), ("trees=15", trees)):
        text = text.replace(old, new)
    (folder / "project.py").write_text(text)
    return folder


def run_released(folder: Path) -> Result:
    """Run the project in a folder and release what passes."""
    return run_project(load_project(folder), folder, release_now=True)


def edit(folder: Path, old: str, new: str, *, file: str = "project.py") -> None:
    """Replace a text in a file of the project, as somebody with an editor would."""
    path = folder / file
    text = path.read_text()
    assert text.count(old) == 1, f"{old!r} stands {text.count(old)} times in {file}"
    path.write_text(text.replace(old, new))
