"""Switches for incidents: what an operator forbids, locks or limits, until it expires.

They travel in the data-plane snapshot: `services.switches` writes them, `gateway.switchboard` obeys them. An expired
one stops by itself: every reader compares `expires_at_s` with its own clock.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

EVERYTHING = "*"
"""The target of a switch that holds for every route."""


class SwitchKind(StrEnum):
    """What a switch does; the value is what operators type."""

    KILL_ROUTE = "kill-route"
    """The route answers 503."""
    KILL_MODEL = "kill-model"
    """The model alias is not asked; the next of its fallback chain is, or the request gets 503."""
    KILL_TOOL = "kill-tool"
    """The tool is not offered to a model and a request that forces it is refused."""
    KILL_AGENTS = "kill-agents"
    """No tool is offered to any model: agents can talk, but act no more."""
    LOCK_ROUTE = "lock-route"
    """The route uses one model alias, whatever its rules say."""
    MAX_NEW = "max-new"
    """No answer gets more tokens."""
    BATCH_WINDOW = "batch-window"
    """A hint to engines in milliseconds, sent as a header."""
    DRAIN_LONG = "drain-long"
    """Prompts of more tokens get 503 with a time to come back."""


@dataclass(frozen=True, slots=True)
class Switch:
    """One switch in force.

    `value` is a model alias (`lock-route`), tokens (`max-new`, `drain-long`), milliseconds (`batch-window`) or empty.
    """

    kind: SwitchKind
    target: str
    value: str | int = ""
    expires_at_s: float | None = None
    reason: str = ""
    actor: str = ""
    set_at_s: float = 0.0

    @property
    def name(self) -> str:
        """Return what tells it from the others: setting it again replaces it."""
        return f"{self.kind.value}:{self.target}"

    def is_on(self, now_s: float) -> bool:
        """Return whether it holds at a Unix time."""
        return self.expires_at_s is None or now_s < self.expires_at_s

    @classmethod
    def from_dict(cls, item: dict[str, Any]) -> "Switch":
        """Return the switch of a JSON form."""
        return cls(**{**item, "kind": SwitchKind(item["kind"])})
