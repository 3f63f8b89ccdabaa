"""What `study_rollouts.py` says about many rollouts of one scenario under one method."""

import math
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from rollout_simulation import Outcome

from shipway.stats.proportions import clopper_pearson_upper

Figures = dict[str, Any]


def figures(outcomes: Sequence[Outcome]) -> Figures:
    """Return rates with exact bounds, detection delays, harm and times to promotion.

    A delay counts every rollout: one that was never rolled back has none, and a median among those is None.
    """
    backs = [each for each in outcomes if each.rolled_back]
    promoted = [each.at_s / 60.0 for each in outcomes if each.end == "promoted"]
    delays = [each.at_s / 60.0 if each.rolled_back else math.inf for each in outcomes]
    harmed = np.array([each.harmed for each in outcomes])
    return {
        "rollouts": len(outcomes),
        "rolled_back": len(backs),
        "rate": len(backs) / len(outcomes),
        "upper95": clopper_pearson_upper(len(backs), len(outcomes), 0.05),
        "minutes_median": _finite(_quantile(delays, 0.5)),
        "minutes_p90": _finite(_quantile(delays, 0.9)),
        "harmed_median": float(np.median(harmed)),
        "harmed_mean": float(harmed.mean()),
        "harmed_p90": _quantile([float(count) for count in harmed], 0.9),
        "promoted": len(promoted) / len(outcomes),
        "promotion_minutes_median": _quantile(promoted, 0.5) if promoted else None,
        "promotion_minutes_p90": _quantile(promoted, 0.9) if promoted else None,
        "paused": sum(each.pauses > 0 for each in outcomes) / len(outcomes),
        "reasons": dict(Counter(each.code for each in backs if each.code)),
    }


def line(scenario: str, method: str, found: Figures) -> str:
    """Return one line of the table that the study prints."""
    minutes = "never" if found["minutes_median"] is None else f"{found['minutes_median']:.1f} min"
    return (
        f"{scenario:32} {method:18} back {found['rate']:6.1%} (<= {found['upper95']:6.2%})  {minutes:>10}"
        f"  harmed {found['harmed_median']:6.1f} median {found['harmed_mean']:7.1f} mean"
        f"  promoted {found['promoted']:6.1%}  paused {found['paused']:.1%}"
    )


def table(rows: dict[str, dict[str, Figures]], unchanged: Callable[[str], bool]) -> list[str]:
    """Return the two tables of the documentation as Markdown: what must not be rolled back, and what must."""
    methods = list(next(iter(rows.values()))) if rows else []
    lines = ["| Rolled back, nothing wrong | " + " | ".join(methods) + " |", "| --- " * (len(methods) + 1) + "|"]
    for name, row in rows.items():
        if unchanged(name):
            cells = [f"{row[m]['rate']:.2%} (≤ {row[m]['upper95']:.2%})" if m in row else "" for m in methods]
            lines.append(f"| {name} | " + " | ".join(cells) + " |")
    lines += ["", "| Harmed users, median (mean); minutes | " + " | ".join(methods) + " |", lines[1]]
    for name, row in rows.items():
        if not unchanged(name):
            lines.append(f"| {name} | " + " | ".join(_harm(row[m]) if m in row else "" for m in methods) + " |")
    return lines


def _harm(found: Figures) -> str:
    minutes = "never" if found["minutes_median"] is None else f"{found['minutes_median']:.1f}"
    return f"{found['harmed_median']:g} ({found['harmed_mean']:.1f}); {minutes}"


def _quantile(values: Sequence[float], share: float) -> float:
    """Return the smallest value that a share of all do not exceed."""
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
