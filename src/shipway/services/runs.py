"""Comparing two stored runs, metric by metric and case by case; no gate, only what was measured."""

import json
import statistics
from collections.abc import Mapping
from typing import Any

from shipway.core.ids import Digest
from shipway.services.application import Application
from shipway.services.releases import verified_blob


async def compared_runs(app: Application, first: Mapping[str, Any], second: Mapping[str, Any]) -> dict[str, Any]:
    """Return means over the cases that both runs scored, and the cases whose `correct` score changed."""
    before, after = await _scores(app, first), await _scores(app, second)
    metrics: dict[str, Any] = {}
    for name in sorted(set().union(*(scores.keys() for scores in before.values()))):
        pairs = [
            (before[case][name], after[case][name])
            for case in before.keys() & after.keys()
            if before[case].get(name) is not None and after[case].get(name) is not None
        ]
        if pairs:
            old, new = statistics.fmean(pair[0] for pair in pairs), statistics.fmean(pair[1] for pair in pairs)
            metrics[name] = {"before": old, "after": new, "difference": new - old, "n": len(pairs)}
    changed = {
        case: {"before": before[case]["correct"], "after": after[case]["correct"]}
        for case in sorted(before.keys() & after.keys())
        if before[case].get("correct") is not None
        and after[case].get("correct") is not None
        and before[case]["correct"] != after[case]["correct"]
    }
    return {"before": first["release"], "after": second["release"], "metrics": metrics, "changed_cases": changed}


async def _scores(app: Application, evaluation: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    data = await verified_blob(app, Digest(evaluation["runs"]), f"evaluation {evaluation['id']}")
    collected: dict[str, dict[str, list[float]]] = {}
    for result in json.loads(data)["candidate"]["results"]:
        case = collected.setdefault(result["case"], {})
        for name, score in result["scores"].items():
            if score is not None:
                case.setdefault(name, []).append(score)
    return {
        case: {name: statistics.fmean(values) for name, values in scores.items()} for case, scores in collected.items()
    }
