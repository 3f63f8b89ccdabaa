"""The scores of a run as columns, indexed once; gates, matrices and simulations read them.

A score takes nine bytes, so that a hundred thousand cases with ten metrics stay in memory while their outputs do not.
"""

import math
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Protocol, Self, runtime_checkable

import numpy as np
import numpy.typing as npt

from shipway.core.errors import UsageError
from shipway.evals.model import CaseResult, Dataset

_NOT_RUN = "was not run"


@dataclass(frozen=True, slots=True)
class ScoreTable:
    """The scores of each metric.

    `values[metric]` is (n_cases, repeats) float64 in the order of `case_ids`, which is the dataset's. NaN is not
    applicable or missing; `missing` tells them apart, and `reasons` say why, by row and repeat.
    """

    case_ids: tuple[str, ...]
    repeats: int
    values: Mapping[str, npt.NDArray[np.float64]] = field(hash=False)
    missing: Mapping[str, npt.NDArray[np.bool_]] = field(hash=False)
    reasons: Mapping[str, Mapping[tuple[int, int], str]] = field(hash=False)

    @classmethod
    def of(cls, dataset: Dataset, results: Iterable[CaseResult], repeats: int, metrics: Collection[str]) -> Self:
        """Read results once, in any order; the later of two results of one case and repeat counts.

        What has no result is missing, whether the metric applies to the case or not.

        Raises:
            UsageError: a result of a case that the dataset does not hold, or of a repeat from `repeats` on.
        """
        case_ids = tuple(case.id for case in dataset.cases)
        if isinstance(results, Tabled):
            known = results.table
            if (known.case_ids, known.repeats) == (case_ids, repeats) and known.values.keys() >= set(metrics):
                columns_of = known.only(metrics)
                return cls(case_ids, repeats, columns_of.values, columns_of.missing, columns_of.reasons)
        rows = {case_id: row for row, case_id in enumerate(case_ids)}
        shape = (len(case_ids), repeats)
        columns = [_Column(name, np.full(shape, np.nan), np.ones(shape, dtype=np.bool_), {}) for name in metrics]
        seen = np.zeros(shape, dtype=np.bool_)
        for result in results:
            place = _place(result, rows, repeats, dataset.name)
            seen[place] = True
            for column in columns:
                column.put(place, result)
        unseen = [(int(row), int(repeat)) for row, repeat in np.argwhere(~seen)]
        for column in columns:
            column.reasons.update(dict.fromkeys(unseen, _NOT_RUN))
            column.values.setflags(write=False)
            column.missing.setflags(write=False)
        return cls(
            case_ids,
            repeats,
            {column.metric: column.values for column in columns},
            {column.metric: column.missing for column in columns},
            {column.metric: column.reasons for column in columns},
        )

    def only(self, metrics: Collection[str]) -> Self:
        """Return the table of some of its metrics."""
        return replace(
            self,
            values={name: self.values[name] for name in metrics},
            missing={name: self.missing[name] for name in metrics},
            reasons={name: self.reasons[name] for name in metrics},
        )

    def at(self, row: int, repeat: int) -> tuple[dict[str, float | None], dict[str, str]]:
        """Return the scores of one result, and why others are missing, as `CaseResult` holds them."""
        scores: dict[str, float | None] = {}
        errors: dict[str, str] = {}
        for name, values in self.values.items():
            if self.missing[name][row, repeat]:
                errors[name] = self.reasons[name][row, repeat]
            else:
                score = float(values[row, repeat])
                scores[name] = None if math.isnan(score) else score
        return scores, errors


@runtime_checkable
class Tabled(Protocol):
    """Results whose scores are columns already; nobody has to look at each of them."""

    @property
    def table(self) -> ScoreTable:
        """Their scores."""
        ...


@dataclass(frozen=True, slots=True)
class _Column:
    metric: str
    values: npt.NDArray[np.float64]
    missing: npt.NDArray[np.bool_]
    reasons: dict[tuple[int, int], str]

    def put(self, place: tuple[int, int], result: CaseResult) -> None:
        score = result.scores.get(self.metric)
        reason = self._why_missing(result, score)
        self.values[place] = math.nan if reason or score is None else score
        self.missing[place] = bool(reason)
        if reason:
            self.reasons[place] = reason
        else:
            self.reasons.pop(place, None)

    def _why_missing(self, result: CaseResult, score: float | None) -> str:
        if self.metric in result.errors:
            return result.errors[self.metric] or "failed without a message"
        if self.metric not in result.scores:
            return f"was not scored for {self.metric}"
        return "" if score is None or math.isfinite(score) else f"the score is {score}, which is not a number"


def _place(result: CaseResult, rows: Mapping[str, int], repeats: int, dataset: str) -> tuple[int, int]:
    if result.case_id not in rows:
        raise UsageError(f"result of case {result.case_id!r}, which dataset {dataset!r} does not hold")
    if not 0 <= result.repeat < repeats:
        raise UsageError(f"result of case {result.case_id!r}, repeat {result.repeat}: the run has {repeats} repeats")
    return rows[result.case_id], result.repeat
