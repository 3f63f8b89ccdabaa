"""Counts of one or more workers as the Prometheus text format; `metrics` calls it when somebody scrapes."""

import math
from collections.abc import Iterable, Iterator, Sequence

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric

from shipway.telemetry.families import FAMILIES, WORKER, Family, Tables, Value, add

MEDIA_TYPE = "text/plain; version=0.0.4; charset=utf-8"


def rendered(counts: Iterable[tuple[str, Tables]]) -> bytes:
    """Return the text of `(worker, tables)`; tables of the same worker are added up."""
    workers: dict[str, Tables] = {}
    for worker, tables in counts:
        add(workers.setdefault(worker, {}), tables)
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Collector(sorted(workers.items())))
    return generate_latest(registry)


class _Collector:
    """Makes the client's families of tables; implements `prometheus_client.registry.Collector`."""

    def __init__(self, workers: Sequence[tuple[str, Tables]]) -> None:
        self._workers = workers

    def collect(self) -> Iterator[Metric]:
        """Yield every family, also those without a sample yet."""
        for family in FAMILIES:
            made = _empty(family)
            if family.of_host:
                host: Tables = {}
                for _worker, tables in self._workers:
                    add(host, {family.name: tables.get(family.name, {})})
                workers: Sequence[tuple[list[str], Tables]] = [([], host)]
            else:
                workers = [([worker], tables) for worker, tables in self._workers]
            for first, tables in workers:
                for labels, value in sorted(tables.get(family.name, {}).items()):
                    _add_sample(made, [*first, *labels], value, family)
            yield made


def _empty(family: Family) -> Metric:
    labels = family.labels if family.of_host else (WORKER, *family.labels)
    match family.kind:
        case "counter":
            return CounterMetricFamily(family.name, family.help, labels=labels)
        case "gauge":
            return GaugeMetricFamily(family.name, family.help, labels=labels)
        case "histogram":
            return HistogramMetricFamily(family.name, family.help, labels=labels)


def _add_sample(made: Metric, labels: list[str], value: Value, family: Family) -> None:
    if isinstance(made, HistogramMetricFamily) and isinstance(value, list):
        below = 0.0
        buckets = []
        for border, count in zip((*family.buckets, math.inf), value, strict=False):
            below += count
            buckets.append((_border(border), below))
        made.add_metric(labels, buckets, sum_value=value[-1])
    elif isinstance(made, CounterMetricFamily | GaugeMetricFamily) and not isinstance(value, list):
        made.add_metric(labels, value)


def _border(border: float) -> str:
    return "+Inf" if border == math.inf else repr(border)
