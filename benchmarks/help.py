"""How long `sterling --help` takes, against a bare typer app and the interpreter itself.

Run: .venv/bin/python benchmarks/help.py
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROUNDS = 25
BARE = """
import typer
app = typer.Typer(name="bare", help="A bare app.", add_completion=False, rich_markup_mode=None)
@app.command()
def run(folder: str = "."):
    "Run."
@app.command()
def check(folder: str = "."):
    "Check."
app()
"""


def seconds(command: list[str], environment: dict[str, str]) -> float:
    started = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=True)
    took = time.perf_counter() - started
    if len(command) > 2 and "Usage:" not in done.stdout:
        raise SystemExit(f"{command} printed no usage: {done.stdout!r}")
    return took


def main() -> None:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    with tempfile.TemporaryDirectory() as folder:
        bare = Path(folder) / "bare.py"
        bare.write_text(BARE)
        empty = Path(folder) / "empty.py"
        empty.write_text("")
        commands = {
            "floor: the interpreter starts and ends": [sys.executable, str(empty)],
            "peer: a bare typer app, --help": [sys.executable, str(bare), "--help"],
            "sterling --help": [str(Path(sys.executable).parent / "sterling"), "--help"],
        }
        times: dict[str, list[float]] = {name: [] for name in commands}
        for turn in range(ROUNDS + 2):
            for name, command in commands.items():
                took = seconds(command, environment)
                if turn >= 2:
                    times[name].append(took)
    medians = {name: statistics.median(values) for name, values in times.items()}
    peer = medians["peer: a bare typer app, --help"]
    print(f"median of {ROUNDS} runs, in turns; byte code is written")
    for name, median in medians.items():
        print(f"{name:<42}{median * 1000:>8.1f} ms {median / peer:>6.2f}x the peer")


if __name__ == "__main__":
    main()
