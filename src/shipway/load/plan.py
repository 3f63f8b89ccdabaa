"""What a load test does: levels over time, requests, limits. `plan_file` reads it, `services.load` runs it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from shipway.core.errors import UsageError

CHAT_PATH = "/v1/chat/completions"
MOST_REQUESTS = 1_000_000
LONGEST_S = 6 * 3600.0
"""No test is longer or larger, whatever its plan says: it must end by itself."""


class Kind(StrEnum):
    """What a level counts."""

    RATE = "rate"
    """Requests a second, due whether or not earlier ones were answered (open loop)."""
    USERS = "users"
    """People who read an answer before they ask again (closed loop)."""


class Arrivals(StrEnum):
    """When the requests of a rate are due."""

    POISSON = "poisson"
    CONSTANT = "constant"


@dataclass(frozen=True, slots=True)
class Stage:
    """The level goes evenly from `start` to `end`; what is not `measured` decides nothing."""

    duration_s: float
    start: float
    end: float
    measured: bool = True


@dataclass(frozen=True, slots=True)
class Template:
    """One kind of request; `body` is sent as JSON, with `model` and `stream` filled in by the plan where absent."""

    name: str
    body: Mapping[str, Any] = field(hash=False)
    weight: float = 1.0
    path: str = CHAT_PATH


@dataclass(frozen=True, slots=True)
class Limits:
    """What is promised, by the name of a figure of `summary`: `p99_ms: 5000`; shares as `error_rate: 0.01`."""

    upper: Mapping[str, float] = field(hash=False)
    is_default: bool = False


FIGURES = (
    "error_rate",
    *(f"p{q}_ms" for q in (50, 90, 95, 99)),
    *(f"ttft_p{q}_ms" for q in (50, 90, 95, 99)),
    *(f"token_gap_p{q}_ms" for q in (50, 90, 95, 99)),
    "cpu",
    "memory",
)
DEFAULT_LIMITS = Limits({"error_rate": 0.01, "p50_ms": 2000.0, "p99_ms": 5000.0, "cpu": 0.8, "memory": 0.8}, True)  # noqa: FBT003 - named by the class
DEFAULT_USERS = (Stage(30.0, 10, 100), Stage(60.0, 100, 100))
STAGING_USERS = (Stage(300.0, 50, 50),)
PROFILES: Mapping[str, Sequence[Stage]] = {"default": DEFAULT_USERS, "staging": STAGING_USERS}


@dataclass(frozen=True, slots=True)
class LoadPlan:
    """A load test. `think_s` are the shortest and longest pause of a user between an answer and the next question."""

    kind: Kind
    stages: tuple[Stage, ...]
    limits: Limits = DEFAULT_LIMITS
    arrivals: Arrivals = Arrivals.POISSON
    warmup_s: float = 5.0
    think_s: tuple[float, float] = (1.0, 3.0)
    timeout_s: float = 60.0
    max_in_flight: int = 2000
    max_requests: int = 200_000
    stream: bool = True
    unique: bool = True
    seed: int = 1

    def __post_init__(self) -> None:
        """Refuse a plan that asks nothing or never ends."""
        problems = list(_problems(self))
        if problems:
            raise UsageError("; ".join(problems))

    @property
    def whole(self) -> tuple[Stage, ...]:
        """Return the stages with the warm-up before them, at the first one's level."""
        if not self.warmup_s:
            return self.stages
        level = self.stages[0].start or self.stages[0].end
        return (Stage(self.warmup_s, level, level, measured=False), *self.stages)

    @property
    def duration_s(self) -> float:
        """Return the seconds during which requests are due."""
        return sum(stage.duration_s for stage in self.whole)


def _problems(plan: LoadPlan) -> Sequence[str]:
    found = []
    if not plan.stages or max(max(stage.start, stage.end) for stage in plan.stages) <= 0:
        found.append("no stage asks anything: give a rate or users above 0")
    if any(stage.duration_s <= 0 or min(stage.start, stage.end) < 0 for stage in plan.stages):
        found.append("a stage needs more than 0 seconds and no level below 0")
    elif plan.stages and plan.duration_s > LONGEST_S:
        found.append(f"{plan.duration_s:g} s are more than {LONGEST_S:g} s, the longest test")
    elif plan.stages and plan.kind is Kind.RATE and expected_requests(plan.whole) > plan.max_requests:
        found.append(
            f"about {expected_requests(plan.whole):.0f} requests are more than max_requests {plan.max_requests}"
        )
    if not any(stage.measured for stage in plan.stages):
        found.append("no stage is measured")
    if not 0 <= plan.think_s[0] <= plan.think_s[1]:
        found.append(f"think_s goes from its shortest to its longest pause, got {list(plan.think_s)}")
    unknown = sorted(set(plan.limits.upper) - set(FIGURES))
    if unknown:
        found.append(f"no limit is called {', '.join(unknown)}; known: {', '.join(FIGURES)}")
    return found


def expected_requests(stages: Sequence[Stage]) -> float:
    """Return how many requests stages of a rate make on average."""
    return sum(stage.duration_s * (stage.start + stage.end) / 2.0 for stage in stages)
