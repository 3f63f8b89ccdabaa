"""A model update: every gated metric as good as before, and what the change does to costs.

The gates come from `gate_spec.with_model_update`; this makes the row that states the cost. It informs and blocks
nothing: a cost that must not rise is a gate on `cost_usd`.
"""

import math

import numpy as np

from shipway.evals.gate_report import GateRow
from shipway.evals.metrics import Metric
from shipway.evals.sample import Sample
from shipway.stats.clusters import clustered_mean


def cost_row(candidate: Sample, baseline: Sample, metric: Metric, alpha: float) -> GateRow | None:
    """Compare the mean costs of an answer on the cases that both runs priced; None when there is none.

    `value` and `baseline_value` are the means, `difference` the baseline's minus the candidate's, and `interval` the
    two-sided interval of the ratio of the means, by Student's t over clusters on the logarithm of the ratio.

    Source: Cochran 1977, Sampling Techniques, 6.3 (variance of a ratio, linearised).
    """
    before = {case.id: value for case, value in zip(baseline.cases, baseline.values, strict=True)}
    pairs = [
        (case.cluster_name, value, before[case.id])
        for case, value in zip(candidate.cases, candidate.values, strict=True)
        if case.id in before
    ]
    if not pairs:
        return None
    new, old = (np.array([pair[side] for pair in pairs], dtype=np.float64) for side in (1, 2))
    interval, said = None, "the baseline cost nothing"
    if old.mean() > 0 and new.mean() > 0:
        ratio = float(new.mean() / old.mean())
        spread = clustered_mean((new - ratio * old) / old.mean(), [pair[0] for pair in pairs])
        margin = spread.t_margin(alpha / 2) / ratio
        said = f"{ratio - 1:+.1%} an answer"
        if math.isfinite(margin):
            interval = (ratio * math.exp(-margin), ratio * math.exp(margin))
            said += f" ({interval[0] - 1:+.1%} to {interval[1] - 1:+.1%})"
    elif old.mean() > 0:
        said = "the candidate costs nothing"
    return GateRow(
        gate=f"{metric.name} (informs)",
        metric=metric.name,
        kind="cost",
        verdict=None,
        message=said,
        value=float(new.mean()),
        baseline_value=float(old.mean()),
        difference=float(old.mean() - new.mean()),
        n=len(pairs),
        n_clusters=len({pair[0] for pair in pairs}),
        alpha=alpha,
        interval=interval,
    )
