"""Counts of one or more workers as the Prometheus text format; `metrics` calls it when somebody scrapes.

Written by hand, because the Prometheus client brings web servers of its own into every worker's memory. It is what the
tests read the text with.
Source: Prometheus documentation, "Exposition formats", text format 0.0.4.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence

from shipway.telemetry.families import FAMILIES, WORKER, Family, Tables, Value, add

MEDIA_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_ESCAPES = str.maketrans({"\\": r"\\", "\n": r"\n", '"': r"\""})


def rendered(counts: Iterable[tuple[str, Tables]]) -> bytes:
    """Return the text of `(worker, tables)`; tables of the same worker are added up."""
    workers: dict[str, Tables] = {}
    for worker, tables in counts:
        add(workers.setdefault(worker, {}), tables)
    by_name = sorted(workers.items())
    return "".join(line for family in FAMILIES for line in _family(family, by_name)).encode()


def _family(family: Family, workers: Sequence[tuple[str, Tables]]) -> Iterator[str]:
    """Yield a family's lines, the first two also when nothing was counted yet."""
    yield f"# HELP {family.sample} {family.help}\n"
    yield f"# TYPE {family.sample} {family.kind}\n"
    if family.of_host:
        host: Tables = {}
        for _worker, tables in workers:
            add(host, {family.name: tables.get(family.name, {})})
        groups: Sequence[tuple[dict[str, str], Tables]] = [({}, host)]
    else:
        groups = [({WORKER: worker}, tables) for worker, tables in workers]
    for first, tables in groups:
        for values, value in sorted(tables.get(family.name, {}).items()):
            yield from _samples(family, first | dict(zip(family.labels, values, strict=False)), value)


def _samples(family: Family, labels: Mapping[str, str], value: Value) -> Iterator[str]:
    if not isinstance(value, list):
        yield f"{family.sample}{_labelled(labels)} {_number(value)}\n"
        return
    below = 0.0
    for border, count in zip((*family.buckets, math.inf), value, strict=False):
        below += count
        yield f"{family.name}_bucket{_labelled({**labels, 'le': _number(border)})} {_number(below)}\n"
    yield f"{family.name}_count{_labelled(labels)} {_number(below)}\n"
    yield f"{family.name}_sum{_labelled(labels)} {_number(value[-1])}\n"


def _labelled(labels: Mapping[str, str]) -> str:
    inside = ",".join(f'{name}="{value.translate(_ESCAPES)}"' for name, value in sorted(labels.items()))
    return f"{{{inside}}}" if inside else ""


def _number(value: float) -> str:
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    return "NaN" if math.isnan(value) else repr(float(value))
