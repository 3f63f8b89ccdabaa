"""What a controller can do to a rollout: `decide` returns these values and `controller` runs them."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from shipway.core.ids import ReleaseId
from shipway.core.ports import WorkerState
from shipway.core.snapshot import Snapshot
from shipway.core.verdicts import Verdict
from shipway.rollouts.checks import CheckResult
from shipway.rollouts.model import CONTROLLER, Code, Division


@dataclass(frozen=True, slots=True)
class Observed:
    """The world at the moment of a decision.

    `workers` are those that may still serve the candidate: silent for less than the dead man's time.
    `candidate_problem` says why one of them cannot load it. `in_use` holds the releases that other rollouts of the
    environment need. `checks` are the results of the checks that the rollout wants now; one that runs has none.
    `silent_s` is how long nobody led before this leader's present look.
    """

    snapshot: Snapshot
    workers: tuple[WorkerState, ...]
    epoch: int
    now_s: float
    candidate_healthy: bool = True
    candidate_problem: str = ""
    in_use: frozenset[ReleaseId] = frozenset()
    stable_healthy: bool = True
    checks: Mapping[str, CheckResult] = field(default_factory=dict)
    silent_s: float = 0.0

    def gone_back(self, dead_man_s: float) -> tuple[str, ...]:
        """Return the workers that serve stable alone, or did until they heard of this leader."""
        was_silent = self.silent_s > dead_man_s
        return tuple(sorted(worker.worker for worker in self.workers if worker.dead_man_tripped or was_silent))


@dataclass(frozen=True, slots=True)
class Hold:
    """Do nothing now."""

    reason: str


@dataclass(frozen=True, slots=True)
class Restamp:
    """Put this leader's epoch on the snapshot, so that an older leader's writes are refused from here on."""


@dataclass(frozen=True, slots=True)
class TakeOver:
    """Put this leader's epoch on the row."""


@dataclass(frozen=True, slots=True)
class StartServices:
    """Start what serves the candidate."""


@dataclass(frozen=True, slots=True)
class StopServices:
    """Stop what served the losing release, unless something still needs it; the rollout is settled."""

    release: ReleaseId
    needed: bool


@dataclass(frozen=True, slots=True)
class SetWeights:
    """Put a division into the snapshot; None withdraws the candidate, `parked` while stable is not back yet."""

    division: Division | None
    parked: bool = False


@dataclass(frozen=True, slots=True)
class Park:
    """Intend that the requests of the routes wait, because stable has to make room."""


@dataclass(frozen=True, slots=True)
class Displace:
    """Stop stable, whose requests wait."""


@dataclass(frozen=True, slots=True)
class Restore:
    """Start stable again before anything is assigned to it; what made it give way is stopped first."""


@dataclass(frozen=True, slots=True)
class NoteHealth:
    """Remember that the candidate has become unhealthy while it has users, or healthy again."""

    healthy: bool


@dataclass(frozen=True, slots=True)
class Confirm:
    """Every worker obeys the intent."""


@dataclass(frozen=True, slots=True)
class Advance:
    """Intend the next step's weight."""

    step: int


@dataclass(frozen=True, slots=True)
class RollBack:
    """Intend that nothing is assigned to the candidate."""

    code: Code
    reason: str
    verdict: Verdict | None = None
    actor: str = CONTROLLER


@dataclass(frozen=True, slots=True)
class Promote:
    """Intend the candidate as the new stable release."""

    reason: str
    verdict: Verdict | None = None
    actor: str = CONTROLLER
    overwrite: str = ""


@dataclass(frozen=True, slots=True)
class Complete:
    """Every worker serves the candidate as stable: move the label and finish."""


@dataclass(frozen=True, slots=True)
class FinishRollBack:
    """No worker assigns the candidate: finish."""


@dataclass(frozen=True, slots=True)
class Pause:
    """Keep the weights and wait for a user."""

    code: Code
    reason: str
    verdict: Verdict | None = None
    actor: str = CONTROLLER


@dataclass(frozen=True, slots=True)
class DetectForeign:
    """Somebody else changed the weights: pause and say so, write nothing."""

    found: str


@dataclass(frozen=True, slots=True)
class Resume:
    """Go on; `overwrite` is the foreign traffic that the user's command allows us to replace."""

    actor: str
    reason: str
    overwrite: str


@dataclass(frozen=True, slots=True)
class Approve:
    """Let the step that waits for a person begin."""

    actor: str
    reason: str


@dataclass(frozen=True, slots=True)
class ReturnFromDeadMan:
    """Workers dropped the candidate while control was silent: put the last confirmed step in force again."""

    workers: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Ignore:
    """Drop a command that means nothing now."""

    reason: str


@dataclass(frozen=True, slots=True)
class EndWatch:
    """Watch the promoted release no longer; with a `proposal` somebody should look at it, and perhaps go back."""

    reason: str
    proposal: bool = False


@dataclass(frozen=True, slots=True)
class Fail:
    """Give up before the candidate had any traffic."""

    reason: str


Action = (
    Hold
    | Restamp
    | TakeOver
    | StartServices
    | StopServices
    | SetWeights
    | Park
    | Displace
    | Restore
    | NoteHealth
    | Approve
    | EndWatch
    | Confirm
    | Advance
    | RollBack
    | Promote
    | Complete
    | FinishRollBack
    | Pause
    | DetectForeign
    | Resume
    | ReturnFromDeadMan
    | Ignore
    | Fail
)
