"""Ranking variants by a metric without the winner's curse; `services.matrix` and `shipway eval matrix` call this.

The highest of many means belongs to the best variant or to the luckiest. `rank` calls one the best only when it beats
every other with the choice among all pairs paid for, and names the others that cannot be told from it.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from shipway.core.counting import counted
from shipway.core.errors import UsageError
from shipway.evals.bounds import bounds_of
from shipway.evals.metrics import Metric
from shipway.evals.model import Case, Dataset
from shipway.evals.sample import Sample, draw_from
from shipway.evals.scores import ScoreTable
from shipway.stats.proportions import MAX_CASES, zero_failures_upper
from shipway.stats.ranking import AllPairs, chosen_on_other_half, compare_all

Place = Literal["best", "not distinguishable", "worse", "error"]
_TWO = 2


@dataclass(frozen=True, slots=True)
class Ranking:
    """How to rank: all statements of one table hold together with probability 1 - alpha."""

    alpha: float = 0.05
    seed: int = 0
    permutations: int = 10_000
    tags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Standing:
    """One variant.

    `place` "not distinguishable" is from the one that leads, which has it too unless it is the best; "error" was not
    measured well enough, and `note` says why. `difference` is this variant minus the one that leads, positive better.
    `interval` and `difference_interval` hold for all variants together.
    """

    name: str
    place: Place
    mean: float | None
    interval: tuple[float, float] | None = None
    difference: float | None = None
    difference_interval: tuple[float, float] | None = None
    p_value: float | None = None
    missing: int = 0
    note: str = ""


@dataclass(frozen=True, slots=True)
class MatrixTable:
    """All variants, the highest first.

    `best` is None unless one beats every other. `held_out` is what the variant that is highest on one half of the
    documents scores on the other half: what choosing by this table is worth. `n` counts the cases that every ranked
    variant has a score for, `left_out` those that only some have.
    """

    metric: str
    alpha: float
    standings: tuple[Standing, ...]
    best: str | None
    held_out: float | None
    n: int
    n_clusters: int
    left_out: int
    sentences: tuple[str, ...]

    @property
    def leading(self) -> str | None:
        """Return the variant with the highest mean; None when nothing was ranked."""
        first = self.standings[0]
        return None if first.place == "error" else first.name

    @property
    def contenders(self) -> tuple[str, ...]:
        """Return the variants that may be the best."""
        return tuple(one.name for one in self.standings if one.place in {"best", "not distinguishable"})


def rank(
    dataset: Dataset, tables: Mapping[str, ScoreTable], metric: Metric, ranking: Ranking | None = None
) -> MatrixTable:
    """Rank variants, by name, that answered the same cases.

    Repeats are averaged within a case. Only cases that all variants have a score for are compared.

    Raises:
        UsageError: no variant, or one whose table is of other cases.
    """
    ranking = ranking or Ranking()
    if not tables:
        raise UsageError("nothing to rank: no variant")
    for name, table in tables.items():
        if table.case_ids != tuple(case.id for case in dataset.cases):
            raise UsageError(f"variant {name!r} was asked other cases than dataset {dataset.name!r} holds")
    samples = {name: draw_from(table, dataset, metric, ranking.tags) for name, table in tables.items()}
    broken = {name: _broken(sample) for name, sample in samples.items()}
    measured = {name: sample for name, sample in samples.items() if not broken[name]}
    errors = [_error(name, samples[name], why) for name, why in broken.items() if why]
    cases = _common(measured)
    left_out = len({case.id for sample in measured.values() for case in sample.cases}) - len(cases)
    if not cases:
        errors += [_error(name, one, "no case has a score of every variant") for name, one in measured.items()]
        sentences = (f"nothing could be ranked by {metric.name}",)
        return MatrixTable(metric.name, ranking.alpha, tuple(errors), None, None, 0, 0, left_out, sentences)
    compared = _Compared.of({name: _only(sample, cases) for name, sample in measured.items()}, metric, ranking)
    return replace(compared.table(), standings=(*compared.standings(), *errors), left_out=left_out)


@dataclass(frozen=True, slots=True)
class _Compared:
    """Variants on their common cases, the highest first, and what is known of every pair."""

    samples: Mapping[str, Sample]
    metric: Metric
    ranking: Ranking
    pairs: AllPairs
    held_out: float | None

    @classmethod
    def of(cls, samples: Mapping[str, Sample], metric: Metric, ranking: Ranking) -> "_Compared":
        ordered = dict(sorted(samples.items(), key=lambda item: -metric.sign * (item[1].mean or 0.0)))
        scores = metric.sign * np.array([sample.values for sample in ordered.values()], dtype=np.float64).T
        clusters = next(iter(ordered.values())).clusters
        pairs = compare_all(scores, clusters, alpha=ranking.alpha, seed=ranking.seed, permutations=ranking.permutations)
        found = chosen_on_other_half(scores, clusters, seed=ranking.seed) if len(ordered) > 1 else None
        return cls(ordered, metric, ranking, pairs, None if found is None else metric.sign * found)

    def standings(self) -> list[Standing]:
        return [self._standing(place, name) for place, name in enumerate(self.samples)]

    def table(self) -> MatrixTable:
        best = self._best()
        return MatrixTable(
            self.metric.name,
            self.ranking.alpha,
            (),
            best,
            self.held_out,
            self.pairs.n,
            self.pairs.n_clusters,
            0,
            tuple(self._sentences(best)),
        )

    def _best(self) -> str | None:
        alone = len(self.samples) == 1
        return None if alone or self._tied() else next(iter(self.samples))

    def _tied(self) -> list[str]:
        """Return those that cannot be told from the one that leads, without it."""
        p_values = self.pairs.p_values[0]
        return [name for place, name in enumerate(self.samples) if place and p_values[place] > self.ranking.alpha]

    def _standing(self, place: int, name: str) -> Standing:
        sample, metric = self.samples[name], self.metric
        bounds = bounds_of(sample, metric, self.ranking.alpha / (_TWO * len(self.samples)), cluster_robust=True)
        found = Standing(
            name,
            "not distinguishable",
            sample.mean,
            (bounds.lower, bounds.upper) if math.isfinite(bounds.upper - bounds.lower) else None,
            missing=sample.missing,
        )
        if place == 0:
            return replace(found, place="best") if self._best() else found
        p_value = float(self.pairs.p_values[place, 0])
        return replace(
            found,
            place="worse" if p_value <= self.ranking.alpha else "not distinguishable",
            # Two that are equal differ by 0 and not by -0.
            difference=float(self.pairs.differences[place, 0]) + 0.0,
            difference_interval=self._interval(place),
            p_value=p_value,
        )

    def _interval(self, place: int) -> tuple[float, float] | None:
        difference, margin = float(self.pairs.differences[place, 0]), float(self.pairs.margins[place, 0])
        if not self.metric.bounded:
            return (difference - margin, difference + margin) if math.isfinite(margin) else None
        if margin == 0.0:
            # Cases that all differ alike have no variance to learn from; the next one may differ otherwise.
            margin = zero_failures_upper(self.pairs.n_clusters, self.ranking.alpha / self.pairs.n_pairs)
        return max(-1.0, difference - margin), min(1.0, difference + margin)

    def _sentences(self, best: str | None) -> list[str]:
        names, tied = list(self.samples), self._tied()
        on = f"on {counted(self.pairs.n, 'case')} in {counted(self.pairs.n_clusters, 'cluster')}"
        if len(names) == 1:
            return [f"one variant {on}: there is nothing to compare it with"]
        if best is not None:
            others = f"all {len(names) - 1} others" if len(names) > _TWO else names[1]
            lines = [f"{best} is the best by {self.metric.name}: it beats {others} {on}"]
        else:
            listed = _listed(tied)
            lines = [f"no best by {self.metric.name}: {names[0]} leads, but {listed} cannot be told from it {on}"]
            lines += self._advice()
        return lines + self._worth(names[0])

    def _advice(self) -> list[str]:
        """Say how many cases would tell the one that leads from the next, if that difference is the true one."""
        gap, margin = abs(float(self.pairs.differences[0, 1])), float(self.pairs.margins[0, 1])
        second = list(self.samples)[1]
        if math.isinf(margin):
            n_clusters = self.pairs.n_clusters
            too_few = "1 cluster is" if n_clusters == 1 else f"{n_clusters} clusters are"
            return [f"{too_few} too few to tell any two apart; add cases from other documents"]
        needed = math.inf if gap == 0.0 else self.pairs.n * (margin / gap) ** 2
        if needed > MAX_CASES or needed <= self.pairs.n:
            return []
        return [f"about {math.ceil(needed)} cases would tell it from {second} if the difference stays what it is"]

    def _worth(self, leading: str) -> list[str]:
        mean = self.samples[leading].mean
        if self.held_out is None or mean is None:
            return []
        flattered = self.metric.sign * (mean - self.held_out) > 0
        said = "; the choice flatters it" if flattered else ""
        chosen = (
            f"{leading} has {mean:.3f}; what leads on one half of the documents has {self.held_out:.3f} on the other"
        )
        return [chosen + said]


def _broken(sample: Sample) -> str:
    if sample.too_many_missing:
        return f"{sample.missing} of {sample.expected} scores are missing; first: {sample.reasons[0]}"
    return "" if sample.values else "no case to which the metric applies"


def _error(name: str, sample: Sample, why: str) -> Standing:
    return Standing(name, "error", sample.mean, missing=sample.missing, note=why)


def _common(samples: Mapping[str, Sample]) -> list[Case]:
    """Return the cases that every variant has a score for, in the order of the first."""
    if not samples:
        return []
    first, *others = samples.values()
    shared = set.intersection({case.id for case in first.cases}, *({case.id for case in one.cases} for one in others))
    return [case for case in first.cases if case.id in shared]


def _only(sample: Sample, cases: Sequence[Case]) -> Sample:
    places = {case.id: place for place, case in enumerate(sample.cases)}
    kept = [places[case.id] for case in cases]
    return replace(
        sample,
        cases=tuple(cases),
        values=tuple(sample.values[place] for place in kept),
        worst=tuple(sample.worst[place] for place in kept),
        scores=sample.scores[kept],
    )


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
