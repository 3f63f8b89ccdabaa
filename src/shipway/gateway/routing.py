"""Which model a request gets: the rules of `routing`, compiled once for each route when a release is loaded.

A route whose rules can only give one answer costs nothing: `compile_route` returns no table then and the release is
loaded with that model. Else `RoutingTable.choose` is asked for each request; it computes what a rule needs (complexity,
flags) only when a rule gets that far. `services.runtimes` compiles, `gateway.routed` asks.
"""

import sys
from bisect import bisect_right
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate
from typing import Any

from shipway.core.snapshot import position
from shipway.gateway.complexity import complexity

_CHARS_PER_TOKEN = 4

FlagValue = Callable[[str, Mapping[str, Any]], Any]


@dataclass(slots=True)
class Facts:
    """What rules may look at; `text` gives the last user message, `flag` a flag's value for a context."""

    route: str
    chars: int
    tenant: str
    conversation: str
    header: Callable[[str], str | None]
    text: Callable[[], str]
    flag: FlagValue
    _complexity: float | None = None

    @property
    def tokens(self) -> int:
        """Return the estimated tokens of the input."""
        return -(-self.chars // _CHARS_PER_TOKEN)

    def complexity(self) -> float:
        """Return the complexity, computed once."""
        if self._complexity is None:
            self._complexity = complexity(self.text())
        return self._complexity

    def flag_value(self, name: str) -> Any:
        """Return a flag's value for this request."""
        context = {
            "targetingKey": self.conversation,
            "route": self.route,
            "tenant": self.tenant,
            "chars": self.chars,
            "tokens": self.tokens,
        }
        return self.flag(name, context)


@dataclass(frozen=True, slots=True)
class Choice:
    """A decision: the model's alias, the prompt that replaces the route's own, and the rule that decided."""

    alias: str
    prompt: str | None = None
    rule: str = "default"


@dataclass(frozen=True, slots=True)
class Split:
    """Models by weight; `bounds` are the cumulative shares, the last one 1."""

    name: str
    aliases: tuple[str, ...]
    bounds: tuple[float, ...]

    def pick(self, conversation: str) -> str:
        """Return a conversation's model: always the same while the weights stay."""
        place = position(f"split:{self.name}", conversation)
        return self.aliases[min(bisect_right(self.bounds, place), len(self.aliases) - 1)]


@dataclass(frozen=True, slots=True)
class Rule:
    """One compiled rule; a test is None where the rule has no such condition."""

    number: int
    low_chars: int = 0
    high_chars: int | None = None
    low_complexity: float | None = None
    high_complexity: float | None = None
    tenants: frozenset[str] | None = None
    headers: tuple[tuple[str, str], ...] = ()
    flag: str | None = None
    to: str | None = None
    prompt: str | None = None

    @property
    def is_unconditional(self) -> bool:
        """Return whether it matches everything."""
        return self.flag is None and self == Rule(self.number, to=self.to, prompt=self.prompt)

    def matches(self, facts: Facts) -> bool:
        """Return whether all conditions but the flag hold; the dear ones are asked last."""
        if facts.chars < self.low_chars or (self.high_chars is not None and facts.chars > self.high_chars):
            return False
        if self.tenants is not None and facts.tenant not in self.tenants:
            return False
        if any(facts.header(name) != value for name, value in self.headers):
            return False
        if self.low_complexity is not None and facts.complexity() < self.low_complexity:
            return False
        return self.high_complexity is None or facts.complexity() <= self.high_complexity


@dataclass(frozen=True, slots=True)
class RoutingTable:
    """The rules of one route; `own` is the route's own model, `known` every alias that a flag may name."""

    own: str
    default: str
    rules: tuple[Rule, ...]
    splits: Mapping[str, Split] = field(default_factory=dict)
    known: frozenset[str] = frozenset()

    def choose(self, facts: Facts) -> Choice:
        """Return who serves a request: by the first rule that matches, else the default."""
        for rule in self.rules:
            if not rule.matches(facts):
                continue
            if rule.flag is None:
                return self._chosen(rule, rule.to, rule.prompt, facts)
            found = self._by_flag(rule, facts.flag_value(rule.flag))
            if found is not None:
                return self._chosen(rule, *found, facts)
        return Choice(self._alias(self.default, facts))

    def for_tenant(self, tenant: str) -> "RoutingTable":
        """Return the table without the rules that this tenant can never meet."""
        kept = tuple(rule for rule in self.rules if rule.tenants is None or tenant in rule.tenants)
        return replace(self, rules=kept)

    def sure_default(self) -> tuple[int, str] | None:
        """Return (characters, alias): with fewer characters no rule can match and the alias serves; None without."""
        if self.default in self.splits:
            return None
        return min((rule.low_chars for rule in self.rules), default=sys.maxsize), self.default

    def _by_flag(self, rule: Rule, value: Any) -> tuple[str | None, str | None] | None:
        """Return (alias, prompt) of a flag's value, None when the rule does not match."""
        if rule.to is not None or rule.prompt is not None:
            return (rule.to, rule.prompt) if value is True or (value and not isinstance(value, bool)) else None
        if isinstance(value, Mapping):
            alias, prompt = value.get("model"), value.get("prompt")
        else:
            alias, prompt = value, None
        if alias is not None and (not isinstance(alias, str) or alias not in self.known):
            return None
        if prompt is not None and not isinstance(prompt, str):
            return None
        return None if alias is None and prompt is None else (alias, prompt)

    def _chosen(self, rule: Rule, to: str | None, prompt: str | None, facts: Facts) -> Choice:
        return Choice(self._alias(to or self.own, facts), prompt, f"rules[{rule.number}]")

    def _alias(self, name: str, facts: Facts) -> str:
        split = self.splits.get(name)
        return name if split is None else split.pick(facts.conversation)


def compile_route(routing: Mapping[str, Any], route: str, own: str, models: Iterable[str]) -> RoutingTable | str:
    """Return a route's table, or the alias of its model when nothing has to be decided for each request.

    `routing` is the release's `policy.routing`: checked when the project was loaded.
    """
    splits = {name: compile_split(name, weights) for name, weights in routing.get("splits", {}).items()}
    rules: list[Rule] = []
    for number, item in enumerate(routing.get("rules", ())):
        routes = _several(item.get("route"))
        if routes is not None and route not in routes:
            continue
        rule = _rule(number, item)
        rules.append(rule)
        if rule.is_unconditional:
            break
    default = routing.get("default") or own
    first = rules[0] if rules else None
    if first is None or (first.is_unconditional and first.prompt is None):
        alone = default if first is None else first.to or own
        if alone not in splits:
            return alone
    return RoutingTable(own, default, tuple(rules), splits, frozenset({*models, *splits}))


def compile_split(name: str, weights: Mapping[str, float]) -> Split:
    """Return a split; only the weights' proportions matter."""
    total = sum(weights.values())
    bounds = tuple(accumulate(weight / total for weight in weights.values()))
    return Split(name, tuple(weights), bounds)


def compile_chains(fallbacks: Mapping[str, Sequence[str]], models: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """Return for each model who is asked in turn: itself, then its fallbacks and theirs, nobody twice."""
    return {alias: tuple(dict.fromkeys(_chain(alias, fallbacks))) for alias in models}


def _chain(alias: str, fallbacks: Mapping[str, Sequence[str]]) -> Iterable[str]:
    # Breadth first: all of a model's own fallbacks stand before those of its fallbacks.
    asked = [alias]
    for current in asked:
        asked += [name for name in fallbacks.get(current, ()) if name not in asked]
    return asked


def _rule(number: int, item: Mapping[str, Any]) -> Rule:
    low = max(item.get("min_chars") or 0, ((item.get("min_tokens") or 0) - 1) * _CHARS_PER_TOKEN + 1, 0)
    if not item.get("min_tokens"):
        low = item.get("min_chars") or 0
    highs = [
        high for high in (item.get("max_chars"), _times(item.get("max_tokens"), _CHARS_PER_TOKEN)) if high is not None
    ]
    tenants = _several(item.get("tenant"))
    return Rule(
        number,
        low_chars=low,
        high_chars=min(highs) if highs else None,
        low_complexity=item.get("min_complexity"),
        high_complexity=item.get("max_complexity"),
        tenants=None if tenants is None else frozenset(tenants),
        headers=tuple(sorted((item.get("header") or {}).items())),
        flag=item.get("flag"),
        to=item.get("to"),
        prompt=item.get("prompt"),
    )


def _times(value: int | None, factor: int) -> int | None:
    return None if value is None else value * factor


def _several(value: Any) -> tuple[str, ...] | None:
    return None if value is None else (value,) if isinstance(value, str) else tuple(value)
