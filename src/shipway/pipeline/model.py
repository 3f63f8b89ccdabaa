"""The values of a pipeline run; the graph orders them, the runner makes them, `render` shows them."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from enum import StrEnum
from typing import Any

from shipway.core.verdicts import Verdict, combined


class StageState(StrEnum):
    """Where a stage is in its life."""

    PENDING = "pending"
    RUNNING = "running"
    PASSED = "passed"
    FAILED = "failed"
    SKIPPED = "skipped"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True)
class StageOutcome:
    """What one attempt of a stage came to; `problem` says in one line why it is not PASS."""

    verdict: Verdict
    exit_code: int | None = None
    """Negative for a signal."""
    outputs: Mapping[str, Any] = field(default_factory=dict, hash=False)
    problem: str = ""
    timed_out: bool = False


@dataclass(frozen=True, slots=True)
class StageResult:
    """What a stage came to, after all its attempts.

    `outputs` are JSON values by name, those of the last attempt. `output_tail` is the end of what it printed then.
    """

    name: str
    state: StageState
    verdict: Verdict = Verdict.NO_DATA
    exit_code: int | None = None
    duration_s: float = 0.0
    attempts: int = 0
    allowed: bool = False
    """It counts neither against the run nor against stages that need this one: allowed to fail, or left out."""
    outputs: Mapping[str, Any] = field(default_factory=dict, hash=False)
    output_tail: str = ""
    problem: str = ""
    retried: tuple[str, ...] = ()
    """Why each attempt before the last one did not pass."""
    known: str = ""
    """Where the result is from when the stage was not run: `cache`, or a run."""
    key: str = ""
    """The digest of all that decided the result; empty where nobody keeps results."""
    files: Mapping[str, str] = field(default_factory=dict, hash=False)
    """The digests of the files that the stage declared as outputs, by path."""
    lineage: str = ""
    """The digest of what the stage hands on and of the lineages of those that it needs."""
    notes: tuple[str, ...] = ()
    """What a person should know although the stage may have passed."""

    @property
    def metrics(self) -> dict[str, float]:
        """Return the outputs that are numbers."""
        return {
            name: float(value)
            for name, value in self.outputs.items()
            if isinstance(value, int | float) and not isinstance(value, bool)
        }

    @property
    def blocks(self) -> bool:
        """Whether stages that need this one may not run."""
        return self.state is not StageState.PASSED and not self.allowed

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {
            "name": self.name,
            "state": self.state.value,
            "verdict": self.verdict.value,
            "exit_code": self.exit_code,
            "duration_s": round(self.duration_s, 3),
            "attempts": self.attempts,
            "allowed": self.allowed,
            "outputs": dict(self.outputs),
            "output_tail": self.output_tail,
            "problem": self.problem,
            "retried": list(self.retried),
            "known": self.known,
            "key": self.key,
            "files": dict(self.files),
            "lineage": self.lineage,
            "notes": list(self.notes),
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "StageResult":
        """Return the result of a JSON form; what is newer than this version is passed over."""
        names = {item.name for item in fields(cls)}
        found = {name: value for name, value in data.items() if name in names}
        found |= {"state": StageState(data["state"]), "verdict": Verdict(data["verdict"])}
        lists = {name: tuple(data.get(name, ())) for name in ("retried", "notes")}
        return cls(**(found | lists))


@dataclass(frozen=True, slots=True)
class RunReport:
    """A whole run: its stages in the order in which they could run."""

    run_id: str
    started_at_s: float
    duration_s: float
    results: tuple[StageResult, ...]

    @property
    def verdict(self) -> Verdict:
        """Return the verdict of the run: an allowed failure is none, and what was not run says nothing."""
        judged = (result for result in self.results if result.state in (StageState.PASSED, StageState.FAILED))
        return combined(Verdict.PASS if result.allowed else result.verdict for result in judged)

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {
            "run_id": self.run_id,
            "verdict": self.verdict.value,
            "started_at_s": self.started_at_s,
            "duration_s": round(self.duration_s, 3),
            "stages": [result.to_dict() for result in self.results],
        }


@dataclass(frozen=True, slots=True)
class StageEvent:
    """A stage changed its state; `result` is there once it is settled. Attempts count from 1."""

    stage: str
    state: StageState
    attempt: int = 0
    result: StageResult | None = None
    problem: str = ""
    """Why the attempt before this one did not pass."""


_EXIT_VERDICTS = {0: Verdict.PASS, 1: Verdict.FAIL, 4: Verdict.INCONCLUSIVE}


def exit_verdict(code: int) -> Verdict:
    """Return what an exit code says: 0 PASS, 1 FAIL, 4 INCONCLUSIVE, anything else (a signal too) ERROR."""
    return _EXIT_VERDICTS.get(code, Verdict.ERROR)
