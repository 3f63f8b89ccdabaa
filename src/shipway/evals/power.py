"""What a dataset can see: gates that ask for more are refused when they are written, not when they fail.

`gates.check_gates` calls `check_power` for the check of a project and again before an evaluation; `shipway gate check`
shows `power_table`.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from scipy import special

from shipway.core.errors import UsageError
from shipway.evals.gate_spec import GateSpec, NonRegressionGate, ThresholdGate, ZeroToleranceGate
from shipway.evals.metrics import Metric
from shipway.evals.model import Case
from shipway.stats.looks import spent
from shipway.stats.paired import DEFAULT_BETA, DEFAULT_CLUSTER_CORRELATION, minimum_detectable, smallest_visible_delta
from shipway.stats.proportions import n_for_zero_failures, zero_failures_upper

# The delta is fixed by the cases alone: 10 % of them changing between 0 and 1. A variance that was measured would hold
# the effects of the candidates it was measured on, and each bad one would widen the limit of the next.
ASSUMED_SD = 0.32
# An automatic delta above this would call a release fine that may have lost a quarter of its answers.
MAX_AUTO_DELTA = 0.25
# Limits are printed with three digits; what is printed must be accepted.
PRINTED = 1000


@dataclass(frozen=True, slots=True)
class PowerRow:
    """What one gate can see. `sees` is in words; `refused` says why the gate can never decide, empty when it can.

    `mde` is the smallest drop seen four times in five, None where the gate compares with no baseline or nobody knows
    the metric's variance. `basis` is where that variance comes from; what earlier evaluations found stands there for
    information and decides nothing. `place` is where the gate was written.
    """

    gate: str
    metric: str
    n: int
    n_clusters: int
    level: float
    sees: str
    mde: float | None
    basis: str
    refused: str
    hint: str = ""
    place: str = ""


def visible_delta(cases: Sequence[Case], level: float, sd: float = ASSUMED_SD) -> float:
    """Compute the smallest drop of a score in [0, 1] that these cases can see; infinite for one cluster."""
    clusters = {case.cluster_name for case in cases}
    return smallest_visible_delta(len(clusters), len(cases), sd, alpha=level)


def check_power(spec: GateSpec, metric: Metric, cases: Sequence[Case], *, looks: int = 1) -> None:
    """Refuse a gate that could not decide for good even if every one of its cases were right.

    `cases` are those that the gate judges.

    Raises:
        UsageError: with the number of cases, what they can see, and what it would take.
    """
    if not cases:
        tags = f" has the tags {', '.join(spec.tags)} and" if spec.tags else ""
        raise UsageError(
            f"gate '{spec.label}': no case{tags} can be judged by {metric.name}, so it never has data",
            hint="Add such cases, or remove the gate.",
        )
    level = spent(spec.alpha, looks)[0]
    match spec:
        case ThresholdGate():
            _check_threshold(spec, metric, cases, level)
        case ZeroToleranceGate():
            _check_zero_tolerance(spec, cases, level)
        case NonRegressionGate():
            _check_non_regression(spec, metric, cases, level)


def check_family(specs: Sequence[GateSpec]) -> None:
    """Refuse non-regression gates with different alphas: Holm's procedure guarantees nothing for them.

    Raises:
        UsageError: naming two gates and their alphas.
    """
    family = [spec for spec in specs if isinstance(spec, NonRegressionGate)]
    for spec in family[1:]:
        if spec.alpha != family[0].alpha:
            raise UsageError(
                f"gate '{spec.label}': alpha {spec.alpha:g}, but '{family[0].label}' has {family[0].alpha:g};"
                " the non-regression gates of a project share one alpha, which Holm's procedure divides among them",
                hint="Give all non-regression gates the same alpha.",
            )


def power_row(
    spec: GateSpec, metric: Metric, cases: Sequence[Case], *, looks: int = 1, sd: Mapping[str, float] | None = None
) -> PowerRow:
    """Describe what a gate can see of these cases, refused or not.

    `sd` holds the standard deviations of case differences in earlier evaluations by metric, for information.
    """
    level, own = spent(spec.alpha, looks)[0], (sd or {}).get(metric.name)
    refused, hint = "", ""
    try:
        check_power(spec, metric, cases, looks=looks)
    except UsageError as error:
        refused, hint = error.message.removeprefix(f"gate '{spec.label}': "), error.hint
    sees, mde, basis = "nothing", None, ""
    if cases:
        sees, mde, basis = _sight(spec, metric, cases, level, own)
    clusters = len({case.cluster_name for case in cases})
    return PowerRow(spec.label, metric.name, len(cases), clusters, level, sees, mde, basis, refused, hint)


def _sight(
    spec: GateSpec, metric: Metric, cases: Sequence[Case], level: float, own: float | None
) -> tuple[str, float | None, str]:
    surest = zero_failures_upper(len(cases), level)
    if isinstance(spec, ZeroToleranceGate):
        return f"a rate above {surest:.3f}", None, ""
    if isinstance(spec, ThresholdGate):
        if not metric.bounded and spec.quantile is None:
            return "what its variance allows", None, ""
        return (
            (f"a share of up to {1 - surest:.3f}" if _of_share(spec, metric) else f"a rate above {surest:.3f}"),
            None,
            "",
        )
    if metric.bounded:
        visible = visible_delta(cases, level)
        basis = f"assumed sd {ASSUMED_SD:g}"
        if own is not None:
            basis += f"; earlier evaluations: {own:.3g}, which shows {visible_delta(cases, level, own):.3g}"
        return f"a drop of {visible:.3g}", visible, basis
    if own is None:
        return "what its variance allows", None, "no earlier evaluations: judged after the run"
    seen = _unbounded_visible(cases, level, own)
    return f"a drop of {seen:.3g}", seen, f"sd {own:.3g} of earlier evaluations: judged after the run"


def _of_share(spec: ThresholdGate, metric: Metric) -> bool:
    return spec.quantile is not None or metric.sign > 0


def _check_threshold(spec: ThresholdGate, metric: Metric, cases: Sequence[Case], level: float) -> None:
    n, what = len(cases), f"{len(cases)} cases"
    if spec.cluster_robust and metric.kind == "proportion":
        n = len({case.cluster_name for case in cases})
        what = f"{len(cases)} cases in {n} clusters"
    surest = zero_failures_upper(n, level)
    needed: int | None
    if spec.quantile is not None:
        share = spec.quantile if metric.sign < 0 else 1.0 - spec.quantile
        if 1.0 - surest < share:
            needed = n_for_zero_failures(1.0 - share, level)
            _refuse(spec, f"{what}, all within the limit, show a share of {_down(1.0 - surest)}", share, needed)
    elif not metric.bounded:
        return
    elif metric.sign > 0 and 1.0 - surest < spec.limit:
        needed = n_for_zero_failures(1.0 - spec.limit, level) if spec.limit < 1.0 else None
        _refuse(spec, f"{what}, all of them right, show at least {_down(1.0 - surest)}", spec.limit, needed)
    elif metric.sign < 0 and surest > spec.limit:
        needed = n_for_zero_failures(spec.limit, level) if spec.limit > 0.0 else None
        _refuse(spec, f"{what}, none of them wrong, show at most {_up(surest)}", spec.limit, needed)


def _refuse(spec: ThresholdGate, sight: str, limit: float, needed: int | None) -> None:
    if needed is None:
        raise UsageError(
            f"gate '{spec.label}': {sight}; no number of cases proves {limit:g}",
            hint=f"Write `{{metric: {spec.metric}, zero_tolerance: true}}`, or a limit that can be reached.",
        )
    unit = "clusters" if spec.cluster_robust else "cases"
    raise UsageError(
        f"gate '{spec.label}': {sight}, which is not {limit:g}: it can never pass",
        hint=f"{limit:g} takes {needed} {unit}; add cases, or set a limit that these can prove.",
    )


def _check_zero_tolerance(spec: ZeroToleranceGate, cases: Sequence[Case], level: float) -> None:
    if spec.max_rate is None:
        return
    needed = n_for_zero_failures(spec.max_rate, level)
    if len(cases) < needed:
        surest = zero_failures_upper(len(cases), level)
        raise UsageError(
            f"gate '{spec.label}': {len(cases)} clean cases show a rate below {_up(surest)}, which is not"
            f" {spec.max_rate:g}: it can never pass",
            hint=f"max_rate {spec.max_rate:g} takes {needed} cases; add cases, raise max_rate, or leave it out.",
        )


def _check_non_regression(spec: NonRegressionGate, metric: Metric, cases: Sequence[Case], level: float) -> None:
    clusters = len({case.cluster_name for case in cases})
    if not metric.bounded and clusters > 1:
        return
    visible = visible_delta(cases, level)
    wanted = MAX_AUTO_DELTA if spec.delta == "auto" else spec.delta
    if math.isfinite(visible) and wanted >= math.floor(visible * PRINTED) / PRINTED:
        return
    drop = f"a relative drop of {wanted:g}" if spec.mode == "relative" else f"a drop of {wanted:g}"
    can = f"it can see {visible:.3f}" if math.isfinite(visible) else "they share one cluster, which shows none"
    raise UsageError(
        f"gate '{spec.label}': {len(cases)} cases cannot see {drop}; {can}",
        hint=_alternative(spec, metric, visible, _cases_for(wanted, len(cases), clusters, level)),
    )


def _alternative(spec: NonRegressionGate, metric: Metric, visible: float, needed: tuple[int, int] | None) -> str:
    takes = f"It takes about {needed[0]} cases in {needed[1]} clusters. " if needed and metric.bounded else ""
    if spec.delta == "auto" or not math.isfinite(visible) or (metric.bounded and visible > MAX_AUTO_DELTA):
        side = "min" if metric.sign > 0 else "max"
        return f"{takes}Add cases from other documents, or judge {metric.name} by `{side}` alone."
    return f"{takes}Write `non_regression: auto`, a larger drop, or add cases from other documents."


def _cases_for(delta: float, n: int, clusters: int, level: float) -> tuple[int, int]:
    """Return the cases and clusters, with as many cases a cluster as now, that see a drop."""
    a_cluster = n / clusters
    design = 1.0 + (a_cluster - 1.0) * DEFAULT_CLUSTER_CORRELATION
    z = float(special.ndtri(1.0 - level) + special.ndtri(1.0 - DEFAULT_BETA))
    cases = design * (z * ASSUMED_SD / delta) ** 2
    fewest = n_for_zero_failures(min(delta, 1.0 - 1e-9), level)
    needed = max(2, fewest, math.ceil(cases / a_cluster))
    return math.ceil(needed * a_cluster), needed


def _unbounded_visible(cases: Sequence[Case], level: float, own: float) -> float:
    """Return what cases can see of a metric without a scale whose differences have this standard deviation."""
    clusters = len({case.cluster_name for case in cases})
    if clusters == 1:
        return math.inf
    design = 1.0 + (len(cases) / clusters - 1.0) * DEFAULT_CLUSTER_CORRELATION
    return minimum_detectable(own * math.sqrt(design / len(cases)), level)


def _down(value: float) -> str:
    return f"{math.floor(value * PRINTED) / PRINTED:.3f}"


def _up(value: float) -> str:
    return f"{math.ceil(value * PRINTED) / PRINTED:.3f}"
