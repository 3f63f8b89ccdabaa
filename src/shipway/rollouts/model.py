"""The rollout's row: everything that a controller needs to go on where another one stopped.

Written by `controller` and `desk` through compare-and-swap, read by services, console and CLI.
"""

from dataclasses import asdict, dataclass, field, fields
from enum import StrEnum
from typing import Any

from shipway.core.ids import ReleaseId, RolloutId
from shipway.core.verdicts import Verdict
from shipway.rollouts.evidence import CanaryEvidence
from shipway.rollouts.plan import Plan
from shipway.rollouts.watch import Watch

CONTROLLER = "rollout-controller"


class RolloutState(StrEnum):
    """Where a rollout is."""

    PENDING = "pending"
    PROGRESSING = "progressing"
    PAUSED = "paused"
    PROMOTING = "promoting"
    ROLLING_BACK = "rolling_back"
    COMPLETED = "completed"
    ROLLED_BACK = "rolled_back"
    FAILED = "failed"


TERMINAL = frozenset({RolloutState.COMPLETED, RolloutState.ROLLED_BACK, RolloutState.FAILED})


class Phase(StrEnum):
    """Whether the workers are known to do what the row says."""

    INTENT = "intent"
    APPLIED = "applied"


class CommandKind(StrEnum):
    """What a user may ask of a rollout."""

    PAUSE = "pause"
    RESUME = "resume"
    PROMOTE = "promote"
    ABORT = "abort"
    APPROVE = "approve"


class Code(StrEnum):
    """Why a judgement or a pause is what it is; `resume` acknowledges the evidence codes by name."""

    NONE = ""
    USER = "user"
    FOREIGN = "foreign_change"
    HARM = "harm"
    GUARDRAIL = "guardrail"
    RULE = "rule"
    CANNOT_LOAD = "cannot_load"
    UNHEALTHY = "unhealthy"
    APPROVAL = "approval"
    SMOKE = "smoke"
    REPLAY = "replay"
    WATCH = "watch"
    SAMPLE_RATIO = "sample_ratio"
    BOTH_ARMS_FAIL = "both_arms_fail"
    WAITING = "waiting"
    NO_DATA = "no_data"
    EXPIRED = "expired"
    ENOUGH = "enough"


APPROVABLE = frozenset({Code.APPROVAL, Code.SMOKE})
"""What a person may let a step begin in spite of: nobody agreed yet, or its smoke checks could not be done."""


@dataclass(frozen=True, slots=True)
class Command:
    """A user's request, waiting in the row until the controller obeys it."""

    kind: CommandKind
    actor: str
    reason: str
    at_s: float


@dataclass(frozen=True, slots=True)
class Division:
    """How the routes of a rollout divide their conversations; `routes` names those with a weight of their own.

    `shadow` is the share of stable's requests of which the candidate gets copies. Requests of a `parked` division wait.
    """

    stable: ReleaseId
    candidate: ReleaseId | None = None
    weight: float = 0.0
    routes: tuple[tuple[str, float], ...] = ()
    shadow: float = 0.0
    parked: bool = False

    @property
    def has_users(self) -> bool:
        """Tell whether the candidate gets any conversation."""
        return self.candidate is not None and (self.weight > 0.0 or any(weight for _, weight in self.routes))

    def weight_on(self, route: str) -> float:
        """Return the candidate's share of a route."""
        return dict(self.routes).get(route, self.weight)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> "Division":
        """Return the division of a JSON form."""
        return cls(**{**data, "routes": tuple((name, weight) for name, weight in data.get("routes", ()))})


@dataclass(frozen=True, slots=True)
class Entry:
    """One action: a line of the rollout's history and, once flushed, of the audit log.

    `action_id` is the rollout's id and a dense number, so that an entry is never audited twice or skipped.
    """

    action_id: str
    at_s: float
    actor: str
    action: str
    details: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Times:
    """Unix times of what happened; None until it does.

    `step_s` is when the present step's weight was confirmed (or resumed), `clock_s` when the deadline's clock started,
    `displaced_s` when stable was stopped to make room, `restored_s` when it was started again, `unhealthy_s` since when
    the candidate is unhealthy while it has users.
    """

    created_s: float
    clock_s: float | None = None
    services_s: float | None = None
    step_s: float | None = None
    dead_man_s: float | None = None
    promoting_s: float | None = None
    decided_s: float | None = None
    confirmed_s: float | None = None
    displaced_s: float | None = None
    restored_s: float | None = None
    unhealthy_s: float | None = None


@dataclass(frozen=True, slots=True)
class Rollout:
    """A rollout as stored.

    `applied` is the last confirmed division and `intent` the one being put in force (they agree in phase applied).
    `overwrite` is the fingerprint of foreign traffic that a user allowed us to replace, `min_version` the snapshot
    version below which the intent must be written again, `outbox` what still has to reach the audit log. `approved` are
    the steps that a person let begin; the number of steps is the promotion. `stopped` says that the loser's processes
    are gone, `watch` is what was seen since the promotion, and `settled` that nothing is left to do. `smoke_again`
    counts how often a user wanted the smoke checks done again.
    """

    id: RolloutId
    environment: str
    routes: tuple[str, ...]
    stable: ReleaseId
    candidate: ReleaseId
    plan: Plan
    evidence: CanaryEvidence
    times: Times
    applied: Division
    intent: Division
    state: RolloutState = RolloutState.PENDING
    resume_to: RolloutState = RolloutState.PENDING
    step: int = -1
    phase: Phase = Phase.APPLIED
    command: Command | None = None
    epoch: int = 0
    verdict: Verdict | None = None
    code: Code = Code.NONE
    reason: str = ""
    acknowledged: tuple[Code, ...] = ()
    approved: tuple[int, ...] = ()
    smoke_again: int = 0
    overwrite: str = ""
    min_version: int = 0
    override: str = ""
    settled: bool = False
    stopped: bool = False
    watch: Watch | None = None
    actions: int = 0
    audit_seq: int = 0
    history: tuple[Entry, ...] = ()
    outbox: tuple[Entry, ...] = ()

    @property
    def finished(self) -> bool:
        """Tell whether traffic is where it will stay."""
        return self.state in TERMINAL

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form."""
        plain = {item.name: _encode(getattr(self, item.name)) for item in fields(self)}
        watch = self.watch and self.watch.to_dict()
        return {**plain, "plan": self.plan.to_dict(), "evidence": self.evidence.to_dict(), "watch": watch}

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> "Rollout":
        """Return the rollout of a JSON form."""
        command = data["command"]
        return cls(
            **{
                **data,
                "routes": tuple(data["routes"]),
                "plan": Plan.from_dict(data["plan"]),
                "evidence": CanaryEvidence.from_dict(data["evidence"]),
                "times": Times(**data["times"]),
                "applied": Division.from_dict(data["applied"]),
                "intent": Division.from_dict(data["intent"]),
                "state": RolloutState(data["state"]),
                "resume_to": RolloutState(data["resume_to"]),
                "phase": Phase(data["phase"]),
                "command": command and Command(**{**command, "kind": CommandKind(command["kind"])}),
                "verdict": data["verdict"] and Verdict(data["verdict"]),
                "code": Code(data["code"]),
                "watch": Watch.from_dict(data["watch"]) if data.get("watch") else None,
                "approved": tuple(data.get("approved", ())),
                "acknowledged": tuple(Code(code) for code in data["acknowledged"]),
                "history": tuple(Entry(**item) for item in data["history"]),
                "outbox": tuple(Entry(**item) for item in data["outbox"]),
            }
        )


def _encode(value: Any) -> Any:
    if isinstance(value, StrEnum):
        return value.value
    if isinstance(value, tuple):
        return [_encode(item) for item in value]
    return asdict(value) if isinstance(value, Command | Division | Entry | Times) else value
