"""What a report tells of, whether the evaluation has just ended or was read from the store or a file.

`report_files` and `services.stored_reports` build it; every form of report is a function of it.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from shipway.core.verdicts import Verdict
from shipway.evals.gate_report import GateReport
from shipway.evals.model import CaseResult, RunReport


class Evaluated(Protocol):
    """A finished evaluation, as `services.evaluations` has it."""

    @property
    def id(self) -> str:
        """The evaluation."""
        ...

    @property
    def release(self) -> str:
        """The release that was evaluated."""
        ...

    @property
    def baseline(self) -> str | None:
        """What it was compared with; None for a first release."""
        ...

    @property
    def report(self) -> GateReport:
        """What the gates found."""
        ...

    @property
    def run(self) -> RunReport:
        """All answers of the release."""
        ...

    @property
    def baseline_run(self) -> RunReport | None:
        """All answers of the baseline."""
        ...

    @property
    def run_id(self) -> str:
        """The run whose directory holds the answers."""
        ...

    @property
    def cost(self) -> Mapping[str, float]:
        """`usd`, `tokens_in`, `tokens_out`, `judge_usd`, as far as they are known."""
        ...


@runtime_checkable
class OnDisk(Protocol):
    """Results whose answers stay on disk until one is asked for by its index."""

    def scores(self) -> Iterator[CaseResult]:
        """Return the results in their order, without answers."""
        ...


def positions(results: Sequence[CaseResult]) -> dict[tuple[str, int], int]:
    """Return the index of each case and repeat, without reading an answer from disk; the later of two counts."""
    found = results.scores() if isinstance(results, OnDisk) else iter(results)
    return {(result.case_id, result.repeat): index for index, result in enumerate(found)}


@dataclass(frozen=True, slots=True)
class Places:
    """Where cases and gates were written, as `file:line`; `project_file` is what stands for everything else."""

    cases: Mapping[str, str] = field(default_factory=dict)
    gates: Mapping[str, str] = field(default_factory=dict)
    project_file: str = "shipway.yaml"


@dataclass(frozen=True, slots=True)
class ReportSource:
    """An evaluation and where its parts were written."""

    id: str
    release: str
    baseline: str | None
    gates: GateReport
    run: RunReport
    baseline_run: RunReport | None = None
    run_id: str = ""
    cost: Mapping[str, float] = field(default_factory=dict)
    places: Places = field(default_factory=Places)

    @property
    def verdict(self) -> Verdict:
        """The gates' verdict."""
        return self.gates.verdict

    @property
    def against(self) -> str:
        """What the release was compared with, in words."""
        return self.baseline or "thresholds alone (first release)"


def source_of(evaluation: Evaluated, places: Places | None = None) -> ReportSource:
    """Return what reports need of a finished evaluation."""
    return ReportSource(
        evaluation.id,
        evaluation.release,
        evaluation.baseline,
        evaluation.report,
        evaluation.run,
        evaluation.baseline_run,
        evaluation.run_id,
        evaluation.cost,
        places or Places(),
    )
