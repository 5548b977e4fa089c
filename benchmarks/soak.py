"""Ten minutes at more than a server can do: what is answered, what is shed, how long it takes, and how memory grows.

One server process with everything on, the model of `benchmarks.serving` (300 trees), asked by `wrk` over many more
connections than its queue has room for. Each half minute is a line; the last one is one request afterwards.

Run it with: python -m benchmarks.soak --minutes 10
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

from benchmarks.serving import STERLING, Server, answer, load, prepare, running

_PART_SECONDS = 30


def main() -> None:
    """Print a line for each half minute."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--connections", type=int, default=256)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        body = json.dumps({"rows": prepare(folder)[:1]})
        server = Server(sys.executable, STERLING)
        with running(folder, server) as (process, port, _):
            print(f"{asked.connections} connections, queue 128; load of the machine {os.getloadavg()[0]:.1f}")
            print(
                f"{'minutes':>7} {'req/s':>8} {'shed/s':>8} {'p50 ms':>8} {'p99 ms':>8} {'slowest answered s':>18} {'MB':>5}"
            )
            for part in range(1, int(asked.minutes * 60 / _PART_SECONDS) + 1):
                found = load(folder, port, server, body, asked.connections, _PART_SECONDS)
                print(
                    f"{part * _PART_SECONDS / 60:7.1f} {found.per_second:8,.0f} {found.failed / _PART_SECONDS:8,.0f} "
                    f"{found.p50_ms:8.1f} {found.p99_ms:8.1f} {_slowest(port):>18} {_resident_mb(process.pid):5.0f}",
                    flush=True,
                )
            began = time.perf_counter()
            answer(port, server, body)
            print(
                f"the first request afterwards: {1_000 * (time.perf_counter() - began):.1f} ms; load {os.getloadavg()[0]:.1f}"
            )


def _slowest(port: int) -> str:
    """The bound of the histogram below which all answered requests lie, from arrival to answer."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as said:
        text = said.read().decode()
    buckets = re.findall(r'^sterling_prediction_seconds_bucket{le="([^"]+)",version="1"} (\S+)', text, re.MULTILINE)
    return next(f"< {bound}" for bound, count in buckets if float(count) == float(buckets[-1][1]))


def _resident_mb(pid: int) -> float:
    found = re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())
    return int(found[1]) / 1024 if found else 0.0


if __name__ == "__main__":
    main()
