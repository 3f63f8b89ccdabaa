"""Whether a `routing` section can work: names that exist, weights that sum up, no circle, no rule that cannot match.

`config.project` asks; each problem carries its key path, which `loading` turns into file and line.
"""

import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from shipway.config.sections.models import ModelEntry
from shipway.config.sections.routes import Route
from shipway.config.sections.routing import Routing, RoutingRule

Problem = tuple[tuple[str | int, ...], str]

_Range = tuple[str, str]
_RANGES: tuple[_Range, ...] = (
    ("min_chars", "max_chars"),
    ("min_tokens", "max_tokens"),
    ("min_complexity", "max_complexity"),
)
_CONDITIONS = ("route", "tenant", "header", "flag")


def routing_problems(
    routing: Routing, routes: Mapping[str, Route], models: Mapping[str, ModelEntry], prompts: Mapping[str, str]
) -> Iterator[Problem]:
    """Yield what is wrong with a routing section, with the key path of each fault."""
    names = _Names(routes, models, prompts, routing.splits)
    yield from names.target(("routing", "default"), routing.default)
    yield from _rule_problems(routing, names)
    yield from _split_problems(routing, names)
    for alias, chain in routing.fallbacks.items():
        yield from names.model(("routing", "fallbacks", alias), alias)
        for index, name in enumerate(chain):
            yield from names.model(("routing", "fallbacks", alias, index), name)
    for alias, circle in _circles(routing.fallbacks):
        yield ("routing", "fallbacks", alias), f"the fallbacks go in a circle: {' -> '.join(circle)}"
    yield from _escalation_problems(routing, names)
    yield from _replica_problems(routing, names)


class _Names:
    """What may be named."""

    def __init__(
        self, routes: Mapping[str, Route], models: Mapping[str, Any], prompts: Mapping[str, Any], splits: Iterable[str]
    ) -> None:
        self.routes = routes
        self.models = models
        self.prompts = prompts
        self.splits = tuple(splits)

    def model(self, path: tuple[str | int, ...], name: str) -> Iterator[Problem]:
        if name not in self.models:
            yield path, _unknown(name, "models", self.models)

    def target(self, path: tuple[str | int, ...], name: str | None) -> Iterator[Problem]:
        if name is not None and name not in self.models and name not in self.splits:
            known = sorted({*self.models, *self.splits})
            yield path, _unknown(name, "models or routing.splits", known)


def _unknown(name: str, title: str, known: Iterable[str]) -> str:
    listed = ", ".join(sorted(known))
    return f"{name!r} is not in {title} ({f'it has {listed}' if listed else 'it is empty'})"


def listed(value: tuple[str, ...] | str | None) -> tuple[str, ...] | None:
    """Return one name or several as several; None stays None."""
    return (value,) if isinstance(value, str) else value


def _rule_problems(routing: Routing, names: _Names) -> Iterator[Problem]:
    for index, rule in enumerate(routing.rules):
        here = ("routing", "rules", index)
        yield from names.target((*here, "to"), rule.to)
        if rule.prompt is not None and rule.prompt not in names.prompts:
            yield (*here, "prompt"), _unknown(rule.prompt, "prompts", names.prompts)
        for route in listed(rule.route) or ():
            if route not in names.routes:
                yield (*here, "route"), _unknown(route, "routes", names.routes)
            elif names.routes[route].kind == "http":
                yield (*here, "route"), f"the route {route!r} is of kind http, which has no model to choose"
            elif rule.prompt is not None and names.routes[route].kind == "rag":
                yield (*here, "prompt"), f"the route {route!r} is of kind rag, whose prompt a rule cannot replace"
        yield from _overlap_problems(here, routing.rules[:index], rule)


def _overlap_problems(
    here: tuple[str | int, ...], earlier: tuple[RoutingRule, ...], rule: RoutingRule
) -> Iterator[Problem]:
    """Yield that a rule can never match, or that it decides by chance with one before it."""
    covering = next((number for number, other in enumerate(earlier) if covers(other, rule)), None)
    if covering is not None:
        yield here, f"can never match: rules[{covering}] matches everything that it matches; put it first or remove it"
        return
    for low, high in _RANGES:
        together = _covering_together(earlier, rule, (low, high))
        if together:
            names = ", ".join(f"rules[{number}]" for number in together)
            yield here, f"can never match: {names} together match everything that it matches; put it first or remove it"
            return
    for number, other in enumerate(earlier):
        shared = _shared(other, rule)
        if shared is not None and (other.to, other.prompt) != (rule.to, rule.prompt):
            name, start, end = shared
            what = f"{name} {start:g} to {end:g}" if end < math.inf else f"{name} from {start:g}"
            yield here, f"overlaps rules[{number}], which decides for {what} too; let one end where the other begins"


def covers(earlier: RoutingRule, later: RoutingRule) -> bool:
    """Return whether every request that `later` matches is matched by `earlier`."""
    return _covers_but(earlier, later, None)


def _covers_but(earlier: RoutingRule, later: RoutingRule, but: _Range | None) -> bool:
    """Return whether `earlier` covers `later` in everything but one range."""
    if earlier.flag is not None and (earlier.flag != later.flag or earlier.to is None):
        return False
    for mine, others in ((earlier.route, later.route), (earlier.tenant, later.tenant)):
        if mine is not None and (others is None or not set(listed(others) or ()) <= set(listed(mine) or ())):
            return False
    if not earlier.header.items() <= later.header.items():
        return False
    return all(_within(later, earlier, names) for names in _RANGES if names != but)


def _within(inner: RoutingRule, outer: RoutingRule, names: _Range) -> bool:
    (inner_low, inner_high), (outer_low, outer_high) = _ends(inner, names), _ends(outer, names)
    return inner_low >= outer_low and inner_high <= outer_high


def _ends(rule: RoutingRule, names: _Range) -> tuple[float, float]:
    low, high = getattr(rule, names[0]), getattr(rule, names[1])
    return low or 0.0, math.inf if high is None else high


def _covering_together(earlier: tuple[RoutingRule, ...], rule: RoutingRule, names: _Range) -> list[int]:
    """Return the rules whose ranges, one after the other, leave nothing of a rule's own; none if something is left."""
    step = 0.0 if names[0] == "min_complexity" else 1.0
    start, end = _ends(rule, names)
    pieces = [(*_ends(other, names), number) for number, other in enumerate(earlier) if _covers_but(other, rule, names)]
    used = []
    for low, high, number in sorted(pieces):
        if high >= start and low <= start:
            used.append(number)
            if high >= end:
                return used
            start = high + step
    return []


def _shared(one: RoutingRule, other: RoutingRule) -> tuple[str, float, float] | None:
    """Return the range that two rules share when that alone tells them apart, and none contains the other's."""
    differing = [names for names in _RANGES if _ends(one, names) != _ends(other, names)]
    if len(differing) != 1 or any(getattr(one, name) != getattr(other, name) for name in _CONDITIONS):
        return None
    names = differing[0]
    (low, high), (other_low, other_high) = _ends(one, names), _ends(other, names)
    start, end = max(low, other_low), min(high, other_high)
    if start >= end or _within(one, other, names) or _within(other, one, names):
        return None
    return names[0].removeprefix("min_"), start, end


def _split_problems(routing: Routing, names: _Names) -> Iterator[Problem]:
    for name, weights in routing.splits.items():
        here = ("routing", "splits", name)
        if name in names.models:
            yield here, f"{name!r} is a key of models already; a split needs a name of its own"
        for alias in weights:
            yield from names.model((*here, alias), alias)
        total = math.fsum(weights.values())
        if not any(math.isclose(total, whole, rel_tol=1e-9) for whole in (1.0, 100.0)):
            yield here, f"the weights sum to {total:g}; they must sum to 1 or to 100"


def _circles(fallbacks: Mapping[str, tuple[str, ...]]) -> Iterator[tuple[str, list[str]]]:
    """Yield each circle once, by its first member in the order of the file."""
    done: set[str] = set()
    for alias in fallbacks:
        circle = _circle(alias, fallbacks, [], done)
        if circle:
            done.update(circle)
            yield circle[0], circle


def _circle(alias: str, fallbacks: Mapping[str, tuple[str, ...]], path: list[str], done: set[str]) -> list[str]:
    if alias in path:
        return [*path[path.index(alias) :], alias]
    if alias in done:
        return []
    for name in fallbacks.get(alias, ()):
        found = _circle(name, fallbacks, [*path, alias], done)
        if found:
            return found
    done.add(alias)
    return []


def _escalation_problems(routing: Routing, names: _Names) -> Iterator[Problem]:
    for alias, escalation in routing.escalate.items():
        here = ("routing", "escalate", alias)
        yield from names.model(here, alias)
        yield from names.model((*here, "to"), escalation.to)
        if escalation.to == alias:
            yield (*here, "to"), f"{alias!r} cannot escalate to itself"
        elif escalation.to in routing.escalate:
            yield (*here, "to"), f"{escalation.to!r} escalates too; one step is all there is"


def _replica_problems(routing: Routing, names: _Names) -> Iterator[Problem]:
    for alias, replicas in routing.replicas.items():
        here = ("routing", "replicas", alias)
        yield from names.model(here, alias)
        if alias in names.models and names.models[alias].engine in {"llamacpp", "echo"}:
            yield here, f"the engine of {alias!r} is started by `shipway up`; replicas are for engines elsewhere"
        seen: set[str] = set()
        for index, url in enumerate(replicas.base_urls):
            place = (*here, "base_urls", index)
            if not url.startswith(("http://", "https://")):
                yield place, f"{url!r} is not an address like http://host:8000/v1"
            if url.rstrip("/") in seen:
                yield place, f"{url!r} stands there twice"
            seen.add(url.rstrip("/"))
