"""What a project's own evaluations say about the variance of its metrics: `shipway gate check` shows it.

It decides nothing: the candidates that were evaluated had effects, which are in these figures. `services.gates` passes
the stored evaluations.
"""

import math
from collections.abc import Iterable, Mapping
from typing import Any

from shipway.core.ids import Digest

MOST_EVALUATIONS = 10
"""Older ones are of another app."""
FEWEST_EVALUATIONS = 2


def pooled_sd(evaluations: Iterable[Mapping[str, Any]], dataset: Digest, metric_code: Digest) -> dict[str, float]:
    """Pool the standard deviations of case differences by metric, over the newest evaluations of equal digests.

    Of several gates on a metric in one evaluation the one with the most cases counts. A metric of fewer than
    `FEWEST_EVALUATIONS` evaluations is left out, and so is one whose cases never differed: that is no variance known,
    but none seen. Releases compared with themselves are left out.

    Source: pooled variance, weights n - 1.
    """
    wanted = {"dataset": dataset, "metrics": metric_code}
    equal = [
        item
        for item in evaluations
        if {name: item["binding"].get(name) for name in wanted} == wanted and item.get("baseline") != item["release"]
    ]
    newest = sorted(equal, key=lambda item: float(item["at_s"]), reverse=True)[:MOST_EVALUATIONS]
    seen: dict[str, list[tuple[int, float]]] = {}
    for item in newest:
        for metric, found in _widest(item["report"]["gates"]).items():
            seen.setdefault(metric, []).append(found)
    pooled = {
        metric: math.sqrt(sum((n - 1) * sd**2 for n, sd in found) / sum(n - 1 for n, _ in found))
        for metric, found in seen.items()
        if len(found) >= FEWEST_EVALUATIONS
    }
    return {metric: sd for metric, sd in pooled.items() if sd > 0.0}


def _widest(rows: Iterable[Mapping[str, Any]]) -> dict[str, tuple[int, float]]:
    found: dict[str, tuple[int, float]] = {}
    for row in rows:
        # Evaluations that were stored before gates had it have no such field.
        sd, n = row.get("sd"), int(row.get("n") or 0)
        if sd is not None and n > found.get(row["metric"], (1, 0.0))[0]:
            found[row["metric"]] = (n, float(sd))
    return found
