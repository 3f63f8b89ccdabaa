"""The models that a route of a release may use: what `services.runtimes` makes and `gateway.routed` asks.

A route without rules, fallbacks or replicas has a plan too, so that it can be locked to another model in an incident;
asking a fixed plan costs one comparison.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from shipway.gateway.routing import Choice, Facts, RoutingTable
from shipway.gateway.switchboard import Orders

LOCK = "lock"


@dataclass(frozen=True, slots=True)
class Escalated:
    """Who answers instead of a model whose answer is too uncertain."""

    to: str
    above: float
    logprobs: bool = True


@dataclass(frozen=True, slots=True)
class PromptChoice:
    """A prompt that a rule or a flag may choose."""

    messages: tuple[Mapping[str, Any], ...]
    version: str


@dataclass(frozen=True, slots=True)
class RoutePlan:
    """One route's models; `targets` are runtimes of the route's own kind, by model alias.

    `table` is None where every request gets `own`. `is_fixed` tells that nothing has to be decided and nobody else is
    ever asked, as long as no switch is in force.
    """

    own: str
    targets: Mapping[str, Any]
    table: RoutingTable | None = None
    chains: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    escalate: Mapping[str, Escalated] = field(default_factory=dict)
    prompts: Mapping[str, PromptChoice] = field(default_factory=dict)
    is_fixed: bool = field(init=False)

    def __post_init__(self) -> None:
        own = self.targets.get(self.own)
        alone = len(self.chains.get(self.own, ())) <= 1 and not getattr(own, "replicas", ())
        object.__setattr__(self, "is_fixed", self.table is None and alone and self.own not in self.escalate)

    def choose(self, facts: Facts, orders: Orders | None) -> Choice:
        """Return who is asked first, before fallbacks."""
        if orders is not None and orders.lock is not None:
            return Choice(orders.lock, rule=LOCK)
        return Choice(self.own) if self.table is None else self.table.choose(facts)

    def chain(self, choice: Choice, orders: Orders | None) -> tuple[str, ...]:
        """Return who is asked in turn; nobody when all are switched off or not in this release."""
        # A lock is an operator's order: nobody else answers then.
        asked = (choice.alias,) if choice.rule == LOCK else self.chains.get(choice.alias, (choice.alias,))
        killed = orders.killed_models if orders is not None else frozenset()
        return tuple(alias for alias in asked if alias in self.targets and alias not in killed)
