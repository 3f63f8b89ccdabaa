"""The sums of a plan's metrics while records are added; `folding` says what to add. Only what changes is copied."""

from collections.abc import Sequence

from shipway.core.observation import Observation
from shipway.rollouts.metrics import LOW, PAIRS, Metric, MetricSums
from shipway.stats.betting import PairState, add_pair
from shipway.stats.means import Moments


class Tallies:
    """Mutable `MetricSums`; `result` freezes them again."""

    def __init__(self, start: Sequence[MetricSums]) -> None:
        self._start = {sums.name: sums for sums in start}
        self._events: dict[str, list[list[int]]] = {}
        self._moments: dict[str, list[list[Moments]]] = {}
        self._pairs: dict[str, PairState] = {}

    def count(self, name: str, place: int, *, is_candidate: bool) -> None:
        """Count a conversation with an event."""
        found = self._events.get(name)
        if found is None:
            found = self._events[name] = [list(item) for item in self._known(name).events]
        while len(found) <= place:
            found.append([0, 0])
        found[place][not is_candidate] += 1

    def add(self, name: str, place: int, value: float, *, is_candidate: bool) -> None:
        """Add a conversation's value."""
        found = self._moments.get(name)
        if found is None:
            found = self._moments[name] = [list(item) for item in self._known(name).moments]
        while len(found) <= place:
            found.append([Moments(), Moments()])
        found[place][not is_candidate] = found[place][not is_candidate].add(value)

    def observe(self, metric: Metric, place: int, observation: Observation) -> None:
        """Add what was observed of a conversation."""
        if metric.kind == PAIRS:
            known = self._pairs.get(metric.name) or self._known(metric.name).pairs
            state = known or PairState(harm=metric.margin, margin=metric.tolerance)
            self._pairs[metric.name] = add_pair(state, observation.value)
        elif metric.kind == LOW:
            self.count(metric.name, place, is_candidate=observation.is_candidate)
        else:
            self.add(metric.name, place, observation.value, is_candidate=observation.is_candidate)

    @staticmethod
    def wants(metric: Metric, value: float) -> bool:
        """Tell whether an observation counts for a metric: any score does, and what is low."""
        return metric.kind != LOW or value < metric.limit

    def result(self) -> tuple[MetricSums, ...]:
        """Return the sums, in the order of their names."""
        changed = self._events.keys() | self._moments.keys() | self._pairs.keys()
        if not changed:
            return tuple(self._start.values())
        return tuple(
            self._frozen(name) if name in changed else self._start[name]
            for name in sorted(self._start.keys() | changed)
        )

    def _known(self, name: str) -> MetricSums:
        return self._start.get(name) or MetricSums(name)

    def _frozen(self, name: str) -> MetricSums:
        known = self._known(name)
        events, moments = self._events.get(name), self._moments.get(name)
        return MetricSums(
            name,
            events=known.events if events is None else tuple((candidate, stable) for candidate, stable in events),
            moments=known.moments if moments is None else tuple((candidate, stable) for candidate, stable in moments),
            pairs=self._pairs.get(name, known.pairs),
        )
