"""Breadth-first search over the worlds of `abstract`, and what must hold in each of them."""

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from tests.unit.rollouts.abstract import (
    CANDIDATE,
    STABLE,
    STRANGE,
    Choice,
    State,
    Worker,
    begin,
    canonical,
    commanded,
    elapsed,
    environment,
    obeyed,
    stepped,
)

from shipway.core.verdicts import Verdict
from shipway.rollouts.model import Code, CommandKind, RolloutState
from shipway.rollouts.plan import Plan

_LONGEST_WAY = 60
_RESULTS = (Verdict.PASS, Verdict.FAIL, Verdict.ERROR)
_VERDICTS = _RESULTS


@dataclass
class Found:
    """What a search has seen; `faults` says how a state that breaks a rule is reached."""

    states: int = 0
    steps: int = 0
    faults: list[str] = field(default_factory=list)
    ends: set[RolloutState] = field(default_factory=set)


@dataclass
class Search:
    """One plan's states."""

    plan: Plan
    kinds: frozenset[str] = frozenset()
    most: int = 1_000_000
    found: Found = field(default_factory=Found)
    parents: dict[Any, tuple[Any, object]] = field(default_factory=dict)
    _ending: set[Any] = field(default_factory=set)
    _losing: set[Any] = field(default_factory=set)
    _calm: dict[Any, State] = field(default_factory=dict)

    def run(self) -> Found:
        first = begin(self.plan)
        self.parents[first.key()] = (None, "")
        waiting = deque([(first, first.key())])
        while waiting and not self.found.faults and len(self.parents) < self.most:
            state, parent = waiting.popleft()
            self.look(state)
            for event, after in self.after(state):
                self.found.steps += 1
                key = after.key()
                if key not in self.parents:
                    self.parents[key] = (parent, event)
                    waiting.append((after, key))
        self.found.states = len(self.parents)
        return self.found

    def after(self, state: State) -> Iterator[tuple[object, State]]:
        """Yield every state that may be next, with what leads there."""
        yield from environment(state, self.kinds)
        for choice, after, writes in answers(state):
            self.check_step(state, after, choice)
            yield choice, canonical(after)
            for crash_at in range(2, writes + 1):
                yield (choice, f"crash at write {crash_at}"), canonical(stepped(state, choice, crash_at)[0])

    def fault(self, state: State, what: str) -> None:
        if not self.found.faults:
            self.found.faults.append(f"{what}: {self.way(state)}\n{state.key()}")

    def way(self, state: State) -> str:
        events, key = [], state.key()
        while key is not None:
            key, event = self.parents[key]
            events.append(str(event))
        return " > ".join(reversed(events[:-1]))

    def check_step(self, before: State, after: State, choice: Choice) -> None:
        """Check one action: its audit entry, and that nobody is sent to what is not healthy."""
        row = after.row
        if [entry.action_id for entry in row.outbox] != [f"ro/{n}" for n in range(1, row.actions + 1)]:
            self.fault(before, f"audit ids are not dense after {choice}: {row.outbox}")
        if after.snapshot == before.snapshot:
            return
        was, now = before.route, after.route
        if not 0.0 <= now.candidate_weight <= 1.0 or (now.candidate is None and now.candidate_weight):
            self.fault(before, f"weights {now}")
        more = Worker(now).assigned() - Worker(was).assigned()
        raised = now.candidate_weight > was.candidate_weight and was.candidate_weight != STRANGE
        for release in more | ({CANDIDATE} if raised else set()):
            if not before.healthy(release) and not self.given_up(before, release):
                self.fault(before, f"{release} is not healthy and gets traffic after {choice}: {was} -> {now}")

    def given_up(self, state: State, release: str) -> bool:
        """Tell whether an abort has waited for stable as long as its plan says."""
        restored_s = state.row.times.restored_s
        return release == STABLE and restored_s is not None and restored_s < max(restored_s, 1000.0)

    def look(self, state: State) -> None:
        """Check what must hold in a state."""
        row, route = state.row, state.route
        self.found.ends |= {row.state} if row.finished else set()
        if not (state.worker.silent or strange(state)) and not state.worker.assigned() <= state.running:
            self.fault(state, f"{state.worker.assigned()} have users and only {state.running} run")
        if row.finished:
            winner = CANDIDATE if row.state is RolloutState.COMPLETED else STABLE
            if route.parked or (route.candidate, route.stable) != (None, winner) or state.snapshot.rollout:
                self.fault(state, f"the end {row.state} with {route}")
            if winner not in state.running or state.label != winner:
                self.fault(state, f"the end {row.state} with {state.running}, label {state.label}")
            if row.settled and state.running != {winner}:
                self.fault(state, f"settled with {state.running}")
        self.check_way_out(state)
        self.check_ill(state)

    def check_way_out(self, state: State) -> None:
        """Check that an abort, or just time, leads to an end while all are well and the data plane obeys."""
        calm = canonical(replace(state, ill=frozenset()))
        aborted = calm if calm.row.finished else (commanded(calm, CommandKind.ABORT) or calm)
        end = self.way_to(aborted, self._ending, lambda now: now.row.settled)
        if end is not None:
            self.fault(state, f"no way out, it ends in {end.key()}")

    def check_ill(self, state: State) -> None:
        """Check that a candidate that stays ill loses its users, whatever else is waited for."""
        if state.row.finished or strange(state) or CANDIDATE not in state.ill or state.worker.silent:
            return
        alone = replace(state, ill=frozenset({CANDIDATE}))
        end = self.way_to(alone, self._losing, lambda now: CANDIDATE not in now.worker.assigned())
        if end is not None:
            self.fault(state, f"it is ill and keeps its users, it ends in {end.key()}")

    def way_to(self, state: State, known: set[Any], there: Callable[[State], bool]) -> State | None:
        """Return where nothing but the controller, the data plane and time lead to, None when that is `there`."""
        path, now = [], state
        for _ in range(_LONGEST_WAY):
            key = now.key()
            if key in known or there(now):
                known.update(path)
                return None
            path.append(key)
            now = self.calm(now, key)
        return now

    def calm(self, state: State, key: Any) -> State:
        """Return the next state when nobody disturbs: the controller's, else the data plane's, else a later one."""
        after = self._calm.get(key)
        if after is None:
            ways = (lambda: canonical(stepped(state, Choice())[0]), lambda: obeyed(state), lambda: elapsed(state))
            after = next((found for way in ways if (found := way()).key() != key), state)
            self._calm[key] = after
        return after


def strange(state: State) -> bool:
    """Tell whether somebody else's weights are in force, which a rollout does not fight."""
    foreign = state.row.state is RolloutState.PAUSED and state.row.code is Code.FOREIGN
    return foreign or STRANGE in {state.route.candidate_weight, state.worker.route.candidate_weight}


def answers(state: State) -> Iterator[tuple[Choice, State, int]]:
    """Yield the controller's next step, with its writes, for every answer of the environment that it asks for."""
    quiet = Choice()
    yield (quiet, *stepped(state, quiet))
    others = [Choice(verdict) for verdict in _VERDICTS] if "verdict" in quiet.asked else []
    others += [Choice(problem="cannot load")] if "problem" in quiet.asked else []
    others += [Choice(watch="goes on"), Choice(watch="alarm")] if "watch" in quiet.asked else []
    for choice in others:
        yield (choice, *stepped(state, choice))
    for choice in (quiet, *others):
        if "smoke" in choice.asked:
            for result in _RESULTS:
                checked = replace(choice, smoke=result)
                yield (checked, *stepped(state, checked))
