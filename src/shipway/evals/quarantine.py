"""Unsteady cases: which of them got worse beyond chance, and which are known to be unsteady and are not warned about.

The quarantine file takes a case out of the warnings by case alone, never out of a gate's mean. `services.gates` reads
the file, `gates` asks for the alarms.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Any

import numpy as np
import numpy.typing as npt

from shipway.config.yaml_source import KeyPath, Place, YamlFile, dotted
from shipway.core.errors import DatasetError
from shipway.evals.metrics import Metric
from shipway.evals.sample import Sample
from shipway.evals.suggestions import did_you_mean
from shipway.stats.flaky import tail_probability

_FIELDS = ("case", "owner", "until", "reason")
_KEY = "quarantine"


@dataclass(frozen=True, slots=True)
class Quarantined:
    """One case, who looks after it, until when, and why."""

    case: str
    owner: str
    until: date
    reason: str


@dataclass(frozen=True, slots=True)
class Quarantine:
    """The cases that nobody is warned about."""

    entries: tuple[Quarantined, ...] = ()

    @property
    def cases(self) -> frozenset[str]:
        """Their ids."""
        return frozenset(entry.case for entry in self.entries)


@dataclass(frozen=True, slots=True)
class _Problems:
    places: Mapping[KeyPath, Place]
    lines: list[str] = field(default_factory=list)

    def add(self, path: KeyPath, message: str) -> None:
        known = path
        while known and known not in self.places:
            known = known[:-1]
        self.lines.append(f"{self.places[known]}: {dotted(path)}: {message}")


def parse_quarantine(file: YamlFile, case_ids: Collection[str], today: date) -> Quarantine:
    """Read a quarantine file: `quarantine:` with a list of `{case, owner, until, reason}`.

    Raises:
        DatasetError: a line for each wrong, unknown or expired entry.
    """
    problems = _Problems(file.places)
    for key in file.data:
        if key != _KEY:
            problems.add((key,), f"unknown key; a quarantine file holds `{_KEY}` alone")
    listed = file.data.get(_KEY, [])
    if not isinstance(listed, list):
        problems.add((_KEY,), "must be a list of {case, owner, until, reason}")
        listed = []
    entries = [_entry(item, index, case_ids, today, problems) for index, item in enumerate(listed)]
    if problems.lines:
        raise DatasetError(problems.lines)
    return Quarantine(tuple(entry for entry in entries if entry is not None))


def case_alarms(
    candidate: Sample, baseline: Sample, metric: Metric, *, alpha: float, quarantined: Collection[str]
) -> list[str]:
    """Return a line for each case that got worse beyond what its own unsteadiness explains.

    Each case is tested at `alpha` divided by the number of cases, so that an unchanged release seldom has a line. Only
    for scores that are right or wrong.
    """
    if metric.kind != "proportion":
        return []
    before = {case.id: row for case, row in zip(baseline.cases, baseline.scores, strict=True)}
    tested = [
        (case.id, before[case.id], row)
        for case, row in zip(candidate.cases, candidate.scores, strict=True)
        if case.id in before and case.id not in quarantined
    ]
    lines = []
    # Few counts are possible, and many cases have the same.
    chances: dict[tuple[int, int, int, int], float] = {}
    for case_id, old, new in tested:
        (passed_before, asked_before), (passed, asked) = (_passes(row, metric) for row in (old, new))
        if passed * asked_before >= passed_before * asked:
            continue
        counts = (passed_before, asked_before, passed, asked)
        if counts not in chances:
            chances[counts] = tail_probability(*counts)
        chance = chances[counts]
        if chance <= alpha / len(tested):
            lines.append(
                f"case {case_id}: {metric.name} right in {passed} of {asked} repeats, before in {passed_before} of"
                f" {asked_before}; chance explains that with probability {chance:.2g}"
            )
    return lines


def _passes(row: npt.NDArray[np.float64], metric: Metric) -> tuple[int, int]:
    there = row[np.isfinite(row)]
    return int(np.count_nonzero(there == (1.0 if metric.sign > 0 else 0.0))), int(there.size)


def _entry(item: Any, index: int, case_ids: Collection[str], today: date, problems: _Problems) -> Quarantined | None:
    path: KeyPath = (_KEY, index)
    if not isinstance(item, dict):
        problems.add(path, "must be {case, owner, until, reason}")
        return None
    before = len(problems.lines)
    for name in item:
        if name not in _FIELDS:
            problems.add((*path, name), f"unknown key; {did_you_mean(name, _FIELDS)}")
    for name in _FIELDS:
        if not isinstance(item.get(name), str) or not item[name]:
            problems.add((*path, name), "must be a text; a case is not put aside without owner, end and reason")
    if len(problems.lines) > before:
        return None
    if item["case"] not in case_ids:
        problems.add(
            (*path, "case"), f"no case {item['case']!r} in the dataset; {did_you_mean(item['case'], case_ids)}"
        )
    until = _date(item["until"])
    if until is None:
        problems.add((*path, "until"), f"must be a date such as 2030-01-31, not {item['until']!r}")
    elif until < today:
        problems.add((*path, "until"), f"expired on {until}; mend the case and remove the entry, or set another end")
    return None if until is None else Quarantined(item["case"], item["owner"], until, item["reason"])


def _date(text: str) -> date | None:
    try:
        return date.fromisoformat(text)
    except ValueError:
        return None
