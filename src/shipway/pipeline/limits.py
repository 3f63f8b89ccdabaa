"""Whether the numbers of a stage are within the limits of its gate. The runner asks after the last attempt."""

import json
import math
from collections.abc import Mapping
from typing import Any

from shipway.core.errors import UsageError
from shipway.core.verdicts import Verdict
from shipway.pipeline.model import StageOutcome
from shipway.pipeline.spec import Limit, StageSpec

_DEEPEST = 20


def judged(stage: StageSpec, outcome: StageOutcome) -> StageOutcome:
    """Return the outcome as the gate of the stage sees it: FAIL outside a limit, ERROR where a number is missing."""
    if outcome.verdict is not Verdict.PASS or not stage.gate:
        return outcome
    missing = [limit.metric for limit in stage.gate if _number(outcome.outputs, limit) is None]
    if missing:
        there = ", ".join(sorted(outcome.outputs)) or "nothing"
        problem = f"gate: no number {', '.join(map(repr, missing))} among the results (there is {there})"
        return StageOutcome(Verdict.ERROR, outcome.exit_code, outcome.outputs, problem)
    broken = [said for limit in stage.gate if (said := _broken(limit, _number(outcome.outputs, limit) or 0.0))]
    if broken:
        return StageOutcome(Verdict.FAIL, outcome.exit_code, outcome.outputs, f"gate: {'; '.join(broken)}")
    return outcome


def numbers_in(data: bytes, path: str) -> dict[str, float]:
    """Return the numbers of a metrics file under their dotted names.

    Raises:
        UsageError: it is not a JSON object, or holds a number that is not finite.
    """
    try:
        document = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"metrics file {path} does not hold JSON: {error}") from None
    if not isinstance(document, dict):
        raise UsageError(
            f"metrics file {path} holds a {type(document).__name__}; write one object of names and numbers"
        )
    found: dict[str, float] = {}
    _collect(document, "", found, 0)
    for name, value in found.items():
        if not math.isfinite(value):
            raise UsageError(f"metrics file {path}: {name} is {value}, which says nothing")
    return found


def _collect(value: Any, name: str, found: dict[str, float], depth: int) -> None:
    if isinstance(value, dict) and depth < _DEEPEST:
        for key, item in value.items():
            _collect(item, f"{name}.{key}" if name else str(key), found, depth + 1)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        found[name] = value


def _number(outputs: Mapping[str, Any], limit: Limit) -> float | None:
    value = outputs.get(limit.metric)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)


def _broken(limit: Limit, value: float) -> str:
    if limit.min is not None and value < limit.min:
        return f"{limit.metric} is {value:g}, below {limit.min:g}"
    if limit.max is not None and value > limit.max:
        return f"{limit.metric} is {value:g}, above {limit.max:g}"
    return ""
