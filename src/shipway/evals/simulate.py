"""How often a project's gates would block an unchanged release, and a worse one, by resampling its own answers.

An A/A decision splits the repeats that a case has, of both runs, at random into two arms that share none, and asks the
real gates. A worse candidate is made by turning right answers of its arm into wrong ones. `services.gates` calls this.

A case that was asked once does not say what it would answer the next time, so nothing is simulated from it: any prior
for its pass rate would decide the figures (with Beta(1/2, 1/2) every right answer is wrong one time in four).
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from shipway.core.errors import UsageError
from shipway.core.verdicts import Verdict, combined
from shipway.evals.gate_report import GateReport, GateRow
from shipway.evals.gate_spec import GateSpec
from shipway.evals.gates import GateOptions, gate_rows, locked_rows
from shipway.evals.metrics import Metric
from shipway.evals.model import Dataset
from shipway.evals.scores import ScoreTable
from shipway.stats.proportions import clopper_pearson_lower, clopper_pearson_upper

Scores = npt.NDArray[np.float64]
WHOLE = "all gates"
"""The name of the row for the verdict of the whole."""
# The level of a simulated decision matters to a percent; the p-value of a real one is computed with ten times as many.
_PERMUTATIONS = 1_000
_INTERVAL_TAIL = 0.025


@dataclass(frozen=True, slots=True)
class SimulationPlan:
    """How many decisions for each effect; an effect of 0.1 turns ten answers of a hundred wrong."""

    decisions: int = 1_000
    seed: int = 0
    effects: tuple[float, ...] = (0.0, 0.05, 0.1, 0.2)
    looks: int = 1


@dataclass(frozen=True, slots=True)
class SimulationRow:
    """What one gate, or the whole, decided at one effect; `counts` by verdict."""

    gate: str
    effect: float
    decisions: int
    counts: Mapping[str, int] = field(hash=False)

    def rate(self, verdict: Verdict) -> float:
        """Return the share of decisions with a verdict."""
        return self.counts.get(verdict.value, 0) / self.decisions

    def interval(self, verdict: Verdict) -> tuple[float, float]:
        """Return its two-sided exact 95 % interval."""
        hits = self.counts.get(verdict.value, 0)
        return (
            clopper_pearson_lower(hits, self.decisions, _INTERVAL_TAIL),
            clopper_pearson_upper(hits, self.decisions, _INTERVAL_TAIL),
        )


@dataclass(frozen=True, slots=True)
class Simulation:
    """All rows, the whole first for each effect.

    `repeats` is what each arm has. `discordant` counts the A/A decisions in which the arms differed at all: without
    differences nothing was tested.
    """

    repeats: int
    discordant: int
    rows: tuple[SimulationRow, ...]


@dataclass(frozen=True, slots=True)
class Pool:
    """The scores that a case got, of any run: `(n_cases, samples)` by metric, NaN where there is none.

    `repeats` is how often the run that asked least asked each case.
    """

    dataset: Dataset
    scores: Mapping[str, Scores] = field(hash=False)
    repeats: int

    @classmethod
    def of(cls, dataset: Dataset, tables: Sequence[ScoreTable]) -> "Pool":
        """Pool the runs of one release; samples of several releases are pooled only where they are taken for equal."""
        names = list(tables[0].values)
        scores = {name: np.concatenate([table.values[name] for table in tables], axis=1) for name in names}
        return cls(dataset, scores, min(table.repeats for table in tables))

    @property
    def samples(self) -> int:
        """How many samples a case has."""
        return next(iter(self.scores.values())).shape[1] if self.scores else 0


def simulate(specs: Sequence[GateSpec], pool: Pool, plan: SimulationPlan, options: GateOptions) -> Simulation:
    """Decide many times on resampled arms.

    Raises:
        UsageError: no gates, no scores, cases that were asked once, or more looks than an arm has repeats.
    """
    if not specs or not pool.samples:
        raise UsageError("nothing to simulate: there are no gates or no scores", hint="run `shipway eval run` first")
    if pool.repeats < 2:  # noqa: PLR2004 - one for each arm
        raise UsageError(
            "the gates cannot be simulated from one repeat: each case was asked once, which does not say how often it"
            " would be answered otherwise",
            hint="evaluate with more: `shipway eval run REL --repeats 5`",
        )
    draw, repeats = _splitting(pool)
    if repeats < plan.looks:
        raise UsageError(
            f"{plan.looks} looks need {plan.looks} repeats in each arm; there are {repeats}",
            hint="evaluate with more repeats: `evals.repeats`",
        )
    rng = np.random.Generator(np.random.Philox(plan.seed))
    options = replace(options, permutations=min(options.permutations, _PERMUTATIONS), looks=plan.looks)
    rows: list[SimulationRow] = []
    discordant = 0
    for effect in plan.effects:
        counts: dict[str, Counter[str]] = {}
        for decision in range(plan.decisions):
            arms = draw(rng)
            worse = {
                name: _worsened(values, options.metrics[name], effect, rng) for name, values in arms.candidate.items()
            }
            found = _decide(specs, pool.dataset, _Arms(worse, arms.baseline), replace(options, seed=decision))
            discordant += effect == 0.0 and _differ(arms)
            whole = combined(row.verdict for row in found if row.verdict is not None)
            _count(counts, WHOLE, whole)
            for row in found:
                _count(counts, row.gate, row.verdict or Verdict.NO_DATA)
        rows += [SimulationRow(gate, effect, plan.decisions, dict(found)) for gate, found in counts.items()]
    return Simulation(repeats, discordant, tuple(rows))


@dataclass(frozen=True, slots=True)
class _Arms:
    candidate: Mapping[str, Scores]
    baseline: Mapping[str, Scores]


def _splitting(pool: Pool) -> tuple[Callable[[np.random.Generator], _Arms], int]:
    half = pool.samples // 2

    def split(rng: np.random.Generator) -> _Arms:
        # One order for all metrics: the scores of an answer belong together.
        order = rng.random((len(pool.dataset.cases), pool.samples)).argsort(axis=1)
        chosen = {name: np.take_along_axis(scores, order, axis=1) for name, scores in pool.scores.items()}
        return _Arms(
            {name: scores[:, :half] for name, scores in chosen.items()},
            {name: scores[:, half : 2 * half] for name, scores in chosen.items()},
        )

    return split, half


def _differ(arms: _Arms) -> bool:
    """Tell whether any case has other scores in one arm than in the other, in whatever order."""
    return any(
        not np.array_equal(np.sort(scores, axis=1), np.sort(arms.baseline[name], axis=1), equal_nan=True)
        for name, scores in arms.candidate.items()
    )


def _worsened(values: Scores, metric: Metric, effect: float, rng: np.random.Generator) -> Scores:
    """Make scores worse by `effect` on average: points of a score in [0, 1], a share of any other."""
    if effect == 0.0 or not np.isfinite(values).any():
        return values
    if not metric.bounded:
        return values * (1.0 - metric.sign * effect)
    if metric.kind == "mean":
        return np.clip(values - metric.sign * effect, 0.0, 1.0)
    right, wrong = (1.0, 0.0) if metric.sign > 0 else (0.0, 1.0)
    share = float(np.mean(values[np.isfinite(values)] == right))
    turned = (values == right) & (rng.random(values.shape) < (effect / share if share else 0.0))
    return np.where(turned, wrong, values)


def _decide(specs: Sequence[GateSpec], dataset: Dataset, arms: _Arms, options: GateOptions) -> list[GateRow]:
    rows: list[GateRow] = []
    repeats = next(iter(arms.candidate.values())).shape[1]
    for look in range(1, options.looks + 1):
        runs = [_table(dataset, side, repeats * look // options.looks) for side in (arms.candidate, arms.baseline)]
        rows = gate_rows(specs, dataset, (runs[0], runs[1]), replace(options, look=look))
        verdicts = {row.verdict for row in rows}
        if Verdict.FAIL in verdicts or Verdict.INCONCLUSIVE not in verdicts:
            break
        options = replace(options, locked=locked_rows(GateReport(tuple(rows))))
    return rows


def _table(dataset: Dataset, scores: Mapping[str, Scores], repeats: int) -> ScoreTable:
    values = {name: found[:, :repeats] for name, found in scores.items()}
    missing = {name: np.zeros(found.shape, dtype=np.bool_) for name, found in values.items()}
    reasons: dict[str, dict[tuple[int, int], str]] = {name: {} for name in values}
    return ScoreTable(tuple(case.id for case in dataset.cases), repeats, values, missing, reasons)


def _count(counts: dict[str, Counter[str]], gate: str, verdict: Verdict) -> None:
    counts.setdefault(gate, Counter())[verdict.value] += 1
