"""What the server counts, in Prometheus' text format; several processes are added up where they share a folder."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Literal, NamedTuple

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

MEDIA_TYPE = b"text/plain; version=0.0.4; charset=utf-8"
SHARED = "PROMETHEUS_MULTIPROC_DIR"
"""The variable that names the folder that processes share; it must be set before this module is imported."""
_SECONDS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0)


_Mode = Literal["livesum", "livemax", "livemin", "sum"]
_GAUGES: tuple[tuple[str, str, _Mode], ...] = (
    ("queue_requests", "Requests that wait.", "livesum"),
    ("online_age_seconds", "Age of the newest change in the online state that requests have met.", "livemax"),
    ("log_waiting_requests", "Requests that wait for the prediction log.", "livesum"),
    ("log_dropped_requests", "Requests that the prediction log could not keep.", "sum"),
    ("live_version", "The version that answers; the oldest one, where processes differ.", "livemin"),
)


class Waiting(NamedTuple):
    """What is looked at when metrics are asked for.

    Attributes:
        queue: Requests that wait.
        age_seconds: Age of the newest change of the online state that requests have met, or None.
        log: Requests that wait to be written to the prediction log.
        dropped: Requests that the prediction log could not keep.
        version: The version that answers.
    """

    queue: int = 0
    age_seconds: float | None = None
    log: int = 0
    dropped: int = 0
    version: int = 0


class Metrics:
    """Counters of one server process.

    Args:
        cpu_price_hour: Price of an hour of one processor; 0 where no cost is asked for.
        look: Gives what is only looked at when somebody asks.

    Example:
        >>> metrics = Metrics(cpu_price_hour=3.6)
        >>> metrics.predicted(7, rows=2, seconds=0.003, cpu_seconds=0.002)
        >>> [line for line in metrics.text().decode().splitlines() if line.startswith("sterling_cost")]
        ['sterling_cost_per_1000_predictions{version="7"} 0.001']
    """

    def __init__(self, *, cpu_price_hour: float = 0.0, look: Callable[[], Waiting] = Waiting) -> None:
        self._own = own = CollectorRegistry()
        self._look = look
        self._requests = Counter(
            "sterling_requests", "Answers, by what was asked for.", ["endpoint", "status"], registry=own
        )
        self._predictions = Counter("sterling_predictions", "Rows that were predicted.", ["version"], registry=own)
        self._cpu = Counter("sterling_cpu_seconds", "Processor time of predictions.", ["version"], registry=own)
        self._seconds = Histogram(
            "sterling_prediction_seconds", "From a request's arrival to its answer.", ["version"], buckets=_SECONDS, registry=own
        )  # fmt: skip
        self._fallbacks = Counter(
            "sterling_fallbacks",
            "Answers that something else gave than was asked.",
            ["version", "link", "reason"],
            registry=own,
        )
        self._unanswered = Counter(
            "sterling_external_failures",
            "Requests that a model behind a URL has not answered.",
            ["model", "reason"],
            registry=own,
        )
        self._nulled = Counter("sterling_nulled_values", "Values that training did not know.", ["field"], registry=own)
        self._shed = Counter("sterling_shed_requests", "Requests that were refused for want of room.", registry=own)
        self._gauges = {
            name: Gauge(f"sterling_{name}", said, registry=own, multiprocess_mode=mode) for name, said, mode in _GAUGES
        }
        self._children: dict[tuple[Any, ...], Any] = {}
        self._registry = own
        if SHARED in os.environ:
            self._registry = CollectorRegistry()
            MultiProcessCollector(self._registry)  # type: ignore[no-untyped-call]
        self._costs = CollectorRegistry()
        if cpu_price_hour:
            self._costs.register(_Costs(self._registry, cpu_price_hour))

    def answered(self, endpoint: str, status: int) -> None:
        """Count an answer."""
        self._child(self._requests, endpoint, str(status)).inc()

    def predicted(self, version: int, *, rows: int, seconds: float, cpu_seconds: float) -> None:
        """Count predictions of a version."""
        self._child(self._predictions, version).inc(rows)
        self._child(self._seconds, version).observe(seconds)
        self._child(self._cpu, version).inc(cpu_seconds)

    def fell_back(self, version: int, link: str, reason: str) -> None:
        """Count an answer that something else gave than the version that was asked."""
        self._child(self._fallbacks, version, link, reason).inc()

    def unanswered(self, model: str, reason: str) -> None:
        """Count a request that a model behind a URL has not answered."""
        self._child(self._unanswered, model, reason).inc()

    def nulled(self, field: str) -> None:
        """Count a value that training did not know."""
        self._child(self._nulled, field).inc()

    def shed(self) -> None:
        """Count a request that was refused for want of room."""
        self._shed.inc()

    def refresh(self) -> None:
        """Take what is only looked at, such as the queue."""
        found = self._look()
        values = (found.queue, found.age_seconds, found.log, found.dropped, found.version)
        for gauge, value in zip(self._gauges.values(), values, strict=True):
            if value is not None:
                gauge.set(value)

    def text(self) -> bytes:
        """All of it, of every process."""
        self.refresh()
        return generate_latest(self._registry) + generate_latest(self._costs)

    def _child(self, metric: Any, *labels: Any) -> Any:
        key = (metric, *labels)
        child = self._children.get(key)
        if child is None:
            child = self._children[key] = metric.labels(*labels)
        return child


class _Costs(Collector):
    """Cost of 1,000 predictions of each version, from processor seconds and their price."""

    def __init__(self, registry: CollectorRegistry, cpu_price_hour: float) -> None:
        self._registry, self._price = registry, cpu_price_hour / 3_600

    def collect(self) -> Iterator[Metric]:
        family = GaugeMetricFamily(
            "sterling_cost_per_1000_predictions",
            "Processor time of 1,000 predictions, at its price.",
            labels=["version"],
        )
        predictions, seconds = _totals(self._registry.collect())
        for version, rows in sorted(predictions.items()):
            if rows:
                cost = seconds.get(version, 0.0) * self._price / rows * 1_000
                family.add_metric([version], round(cost, 12))
        yield family

    def describe(self) -> Iterable[Metric]:
        """Nothing ahead of time: versions are not known yet."""
        return ()


def _totals(metrics: Iterable[Metric]) -> tuple[Mapping[str, float], Mapping[str, float]]:
    found: dict[str, dict[str, float]] = {"sterling_predictions_total": {}, "sterling_cpu_seconds_total": {}}
    for metric in metrics:
        for sample in metric.samples:
            if sample.name in found:
                found[sample.name][sample.labels["version"]] = sample.value
    return found["sterling_predictions_total"], found["sterling_cpu_seconds_total"]
