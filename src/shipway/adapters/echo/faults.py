"""Faults that the echo engine injects: by a control request with a rate, or by a marker in the model's name."""

import json
import random
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from shipway.adapters.openai_http.wire import RefusedError


class FaultKind(StrEnum):
    """What goes wrong."""

    ERROR_500 = "error_500"
    RATE_429 = "rate_429"
    HANG_BEFORE = "hang_before"
    HANG_MID = "hang_mid"
    CUT_MID = "cut_mid"
    SLOW = "slow"


@dataclass(frozen=True, slots=True)
class FaultPlan:
    """Which share of requests fails and how; `ms` is the delay a token of `slow` takes more."""

    kind: FaultKind | None = None
    rate: float = 0.0
    ms: float = 0.0
    seed: int = 0

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form."""
        return asdict(self)


class Faults:
    """Decides request by request; the same plan decides the same way again."""

    def __init__(self) -> None:
        self._plan = FaultPlan()
        self._draws = random.Random(0)  # noqa: S311 - faults are no secret

    @property
    def plan(self) -> FaultPlan:
        """Return the plan in force."""
        return self._plan

    def set(self, plan: FaultPlan) -> None:
        """Replace the plan and start its draws anew."""
        self._plan = plan
        self._draws = random.Random(plan.seed)  # noqa: S311

    def draw(self, model: str) -> FaultPlan | None:
        """Return the fault of the next request; a name like `echo:cut_mid` or `echo:slow=50` always has its own."""
        _, _, marker = model.partition(":")
        kind, _, ms = marker.partition("=")
        if kind in list(FaultKind):
            return FaultPlan(FaultKind(kind), 1.0, float(ms) if ms.replace(".", "", 1).isdigit() else 0.0)
        if self._plan.kind is None:
            return None
        return self._plan if self._draws.random() < self._plan.rate else None


def parse_plan(body: bytes) -> FaultPlan:
    """Return the plan of a control request; an empty object ends all faults.

    Raises:
        RefusedError: it is no plan.
    """
    try:
        data = json.loads(body or b"{}")
        plan = FaultPlan(
            kind=FaultKind(data["kind"]) if data.get("kind") else None,
            rate=float(data.get("rate", 1.0 if data.get("kind") else 0.0)),
            ms=float(data.get("ms", 0.0)),
            seed=int(data.get("seed", 0)),
        )
    except (ValueError, TypeError, AttributeError) as error:
        kinds = ", ".join(FaultKind)
        message = f"no fault plan ({error}); send {{kind, rate, ms, seed}} with a kind of {kinds}"
        raise RefusedError(400, message) from error
    if not 0.0 <= plan.rate <= 1.0 or plan.ms < 0:
        raise RefusedError(400, f"rate {plan.rate:g} must be in [0, 1] and ms {plan.ms:g} at least 0")
    return plan
