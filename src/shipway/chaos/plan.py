"""What is broken and what is promised meanwhile; `plan_file` reads it, `services.chaos` does it."""

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Literal

OK = 200
NO_REPLY = 0
"""The status of a request that got none: the connection was refused or cut, or no answer came in time."""
STEADY = 0.95
"""The share of requests that must be served before and after a fault."""
OnLoss = Literal["fail_closed", "local_share"]


class Kind(StrEnum):
    """An experiment."""

    ENGINE_ERRORS = "engine-errors"
    ENGINE_SLOW = "engine-slow"
    ENGINE_STUCK = "engine-stuck"
    WORKER_KILLED = "worker-killed"
    REDIS_LOST = "redis-lost"
    POSTGRES_LOST = "postgres-lost"
    STORE_LOCKED = "store-locked"
    DISK_FULL = "disk-full"


@dataclass(frozen=True, slots=True)
class Promises:
    """What holds while something is broken, and after it.

    `statuses` are what a request may come to, 0 for no reply; `min_served` the share that is answered all the same.
    Routes that do not need what is broken are served as before whatever this says.
    """

    statuses: tuple[int, ...]
    min_served: float = 0.0
    answered_within_s: float = 30.0
    recovers_within_s: float = 30.0
    retry_after: bool = True
    """Every 429 and 503 says when to try again."""
    openai_errors: bool = True
    """Every error has the shape of OpenAI's, so that clients understand it."""
    records: bool = True
    """Every request that was answered is in the records."""
    rollout: bool = True
    """A rollout is not rolled back for what is no fault of the release."""


@dataclass(frozen=True, slots=True)
class Experiment:
    """One fault for `fault_s` seconds. `delay_s` is what a slow engine takes more, `share` how many of its replies."""

    kind: Kind
    promises: Promises
    fault_s: float = 5.0
    delay_s: float = 2.0
    share: float = 1.0
    asked_for: bool = True
    """Somebody named it: that it cannot be done here is then told in the verdict."""


@dataclass(frozen=True, slots=True)
class Setting:
    """What of a project decides its promises."""

    workers: int = 1
    llm_timeout_s: float = 60.0
    on_redis_loss: OnLoss = "fail_closed"


@dataclass(frozen=True, slots=True)
class ChaosPlan:
    """Experiments one after another, with `rate` requests a second to `route` before, meanwhile and afterwards."""

    experiments: tuple[Experiment, ...]
    route: str = ""
    rate: float = 5.0
    steady_s: float = 3.0
    prompt: str = "Say hello."


def promised(kind: Kind, setting: Setting) -> Promises:
    """Return what Shipway promises for a fault, where a plan says nothing else."""
    within_s = setting.llm_timeout_s + 5.0
    match kind:
        case Kind.ENGINE_ERRORS | Kind.ENGINE_STUCK | Kind.ENGINE_SLOW:
            return Promises((OK, 429, 502, 503, 504), 0.0, within_s)
        case Kind.WORKER_KILLED:
            # What the killed worker was about to answer is cut; the others, or the next one, answer the rest.
            return Promises((NO_REPLY, OK, 503), 0.8 if setting.workers > 1 else 0.5, within_s)
        case Kind.REDIS_LOST if setting.on_redis_loss == "local_share":
            return Promises((OK,), STEADY, within_s)
        case Kind.REDIS_LOST | Kind.DISK_FULL:
            return Promises((OK, 503), 0.0, within_s)
        case Kind.STORE_LOCKED | Kind.POSTGRES_LOST:
            return Promises((OK, 503), STEADY, within_s)


def default_experiments(setting: Setting) -> tuple[Experiment, ...]:
    """Return all experiments; those that cannot be done here are told and left out of the verdict."""
    found = (Experiment(kind, promised(kind, setting), asked_for=False) for kind in Kind)
    # Beyond the time that an answer may take, so that the deadline is met.
    return tuple(
        replace(item, delay_s=setting.llm_timeout_s + 1.0) if item.kind is Kind.ENGINE_SLOW else item for item in found
    )
