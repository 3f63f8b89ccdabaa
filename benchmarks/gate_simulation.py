"""Simulated releases under the project's own gate code, and under the rules that people use instead.

`study_gates.py` runs the grid. A case has a pass probability of its own, cases of one document share a part of it, and
in each run the cases of a document do better or worse together by chance. An unchanged release is drawn the same way.
"""

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from scipy import special

from shipway.core.verdicts import Verdict, combined
from shipway.evals.gate_report import GateReport
from shipway.evals.gate_spec import NonRegressionGate
from shipway.evals.gates import GateOptions, gate_rows, locked_rows
from shipway.evals.metrics import Metric
from shipway.evals.model import Case, Dataset
from shipway.evals.scores import ScoreTable

Scores = npt.NDArray[np.float64]
ALPHA = 0.05
PERMUTATIONS = 1_000
NO_DELTA = 1e-6
"""A delta that nothing falls short of: then FAIL is the test alone, which is the most that it can err."""
# Pass rates of mean 0.75: Beta(3, 1), whose logits are shifted together for the cases of one document.
_BETA = (3.0, 1.0)
_CLUSTER_SPREAD = 1.0
# By how much a run shifts the logits of a document: what makes its cases no independent evidence.
_RUN_SPREAD = 0.7
_SIGNIFICANT_Z = float(special.ndtri(1.0 - ALPHA))


@dataclass(frozen=True, slots=True)
class Cell:
    """One setting: cases, cases of a document, repeats of a look, gated metrics, looks."""

    n: int
    a_cluster: int
    repeats: int
    metrics: int
    looks: int

    @property
    def name(self) -> str:
        """How tables name it."""
        return f"n={self.n} cluster={self.a_cluster} K={self.repeats} metrics={self.metrics} looks={self.looks}"


@dataclass(slots=True)
class Tally:
    """What was decided; `alone` counts FAILs of the test without a delta, the rest are rules that people use."""

    decisions: int = 0
    fail: int = 0
    inconclusive: int = 0
    alone: int = 0
    drop_2_points: int = 0
    newly_failing: int = 0
    unpaired_z: int = 0
    unclustered: int = 0
    peeking: int = 0

    def as_dict(self) -> dict[str, int]:
        """Return the counts by name."""
        return {name: getattr(self, name) for name in self.__slots__}


def grid() -> Iterator[Cell]:
    """Yield the cells of the study."""
    for n, a_cluster, repeats, metrics, looks in itertools.product((30, 100, 300), (1, 5), (1, 5), (1, 8), (1, 3)):
        yield Cell(n, a_cluster, repeats, metrics, looks)


def simulated(cell: Cell, *, decisions: int, seed: int, drop: float = 0.0) -> Tally:
    """Decide many times on an unchanged release, or on one that is worse by `drop` points on average."""
    rng = np.random.Generator(np.random.Philox(seed))
    dataset = _dataset(cell)
    names = [f"m{index}" for index in range(cell.metrics)]
    options = GateOptions(permutations=PERMUTATIONS, looks=cell.looks, metrics={name: _metric(name) for name in names})
    tally = Tally()
    for decision in range(decisions):
        arms = [_arms(cell, rng, drop) for _ in names]
        found = replace(options, seed=decision)
        verdict = _decided(dataset, names, arms, found, "auto")
        tally.decisions += 1
        tally.fail += verdict is Verdict.FAIL
        tally.inconclusive += verdict is Verdict.INCONCLUSIVE
        tally.alone += _decided(dataset, names, arms, found, NO_DELTA) is Verdict.FAIL
        _count_naive(tally, dataset, names, arms, found)
    return tally


def _dataset(cell: Cell) -> Dataset:
    cases = tuple(Case(id=f"c{i:04}", question="?", cluster=f"d{i // cell.a_cluster:04}") for i in range(cell.n))
    return Dataset("simulated", cases)


def _metric(name: str) -> Metric:
    return Metric(name, lambda *_: None, lambda _: True, "higher", "proportion", "answer")


def _arms(cell: Cell, rng: np.random.Generator, drop: float) -> tuple[Scores, Scores]:
    """Return the scores of candidate and baseline: (n, repeats * looks)."""
    rates = rng.beta(*_BETA, size=cell.n)
    logits = special.logit(np.clip(rates, 1e-6, 1.0 - 1e-6)) + _shared(cell, rng, _CLUSTER_SPREAD)
    size = (cell.n, cell.repeats * cell.looks)
    chances = [special.expit(logits + _shared(cell, rng, _RUN_SPREAD)) for _ in range(2)]
    chances[0] = chances[0] * max(0.0, 1.0 - drop / float(chances[0].mean()))
    new, old = (rng.random(size) < each[:, None] for each in chances)
    return new.astype(np.float64), old.astype(np.float64)


def _shared(cell: Cell, rng: np.random.Generator, spread: float) -> Scores:
    """Draw one number for each document, `(n,)`."""
    documents = rng.normal(0.0, spread, size=math.ceil(cell.n / cell.a_cluster))
    return documents.repeat(cell.a_cluster)[: cell.n]


def _decided(
    dataset: Dataset,
    names: Sequence[str],
    arms: Sequence[tuple[Scores, Scores]],
    options: GateOptions,
    delta: object,
) -> Verdict:
    specs = [NonRegressionGate(name, "auto" if delta == "auto" else NO_DELTA) for name in names]
    verdict = Verdict.INCONCLUSIVE
    repeats = arms[0][0].shape[1] // options.looks
    for look in range(1, options.looks + 1):
        runs = [
            _table(dataset, {name: arm[side][:, : repeats * look] for name, arm in zip(names, arms, strict=True)})
            for side in (0, 1)
        ]
        rows = gate_rows(specs, dataset, (runs[0], runs[1]), replace(options, look=look))
        verdict = combined(row.verdict for row in rows if row.verdict is not None)
        if verdict in (Verdict.FAIL, Verdict.PASS):
            break
        options = replace(options, locked=locked_rows(GateReport(tuple(rows))))
    return verdict


def _count_naive(
    tally: Tally,
    dataset: Dataset,
    names: Sequence[str],
    arms: Sequence[tuple[Scores, Scores]],
    options: GateOptions,
) -> None:
    means = [(new.mean(), old.mean()) for new, old in arms]
    tally.drop_2_points += any(new < old - 0.02 for new, old in means)
    tally.newly_failing += any(bool(((new.mean(axis=1) < 0.5) & (old.mean(axis=1) >= 0.5)).any()) for new, old in arms)
    tally.unpaired_z += any(_unpaired_z(new, old) < -_SIGNIFICANT_Z for new, old in arms)
    alone = Dataset("alone", tuple(replace(case, cluster="") for case in dataset.cases))
    tally.unclustered += _decided(alone, names, arms, options, NO_DELTA) is Verdict.FAIL
    # Every metric and every look at the full level, as if each were the only one.
    once = replace(options, looks=1)
    repeats = arms[0][0].shape[1] // options.looks
    tally.peeking += any(
        _decided(dataset, [name], [(arm[0][:, : repeats * look], arm[1][:, : repeats * look])], once, NO_DELTA)
        is Verdict.FAIL
        for name, arm in zip(names, arms, strict=True)
        for look in range(1, options.looks + 1)
    )


def _unpaired_z(new: Scores, old: Scores) -> float:
    spread = math.sqrt(float(new.mean() * (1 - new.mean()) + old.mean() * (1 - old.mean())) / new.size)
    return float(new.mean() - old.mean()) / spread if spread else 0.0


def _table(dataset: Dataset, values: dict[str, Scores]) -> ScoreTable:
    shape = next(iter(values.values())).shape
    reasons: dict[str, dict[tuple[int, int], str]] = {name: {} for name in values}
    missing = {name: np.zeros(shape, dtype=np.bool_) for name in values}
    return ScoreTable(tuple(case.id for case in dataset.cases), shape[1], values, missing, reasons)
