"""A run under way, as lines: the tree of stages with their times, and how long it takes yet. The terminal view asks."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from shipway.pipeline.graph import StageGraph
from shipway.pipeline.model import StageEvent, StageResult, StageState
from shipway.pipeline.render import duration, note_of

_MARKS = {
    StageState.PENDING: "·",
    StageState.RUNNING: "▶",
    StageState.PASSED: "✓",
    StageState.FAILED: "✗",
    StageState.SKIPPED: "-",
    StageState.CANCELLED: "-",
}


@dataclass(slots=True)
class LiveRun:
    """What is known of a run while it goes on; `expected_s` is how long stages took before."""

    graph: StageGraph
    expected_s: Mapping[str, float]
    parallel: float
    started_s: dict[str, float] = field(default_factory=dict)
    attempts: dict[str, int] = field(default_factory=dict)
    results: dict[str, StageResult] = field(default_factory=dict)

    def hear(self, event: StageEvent, now_s: float) -> None:
        """Take in what happened."""
        if event.result is not None:
            self.results[event.stage] = event.result
        elif event.state is StageState.RUNNING:
            self.started_s.setdefault(event.stage, now_s)
            self.attempts[event.stage] = event.attempt

    def lines(self, now_s: float, most: int) -> list[str]:
        """Return at most so many lines; where there are more stages, those that matter least are counted only."""
        shown = [name for name in self.graph.stages if not self._left_out(name)]
        if len(shown) > most - 1:
            shown = [name for name in shown if self._state(name) in (StageState.RUNNING, StageState.FAILED)][: most - 1]
        depths = self._depths()
        return [*(self._line(name, depths[name], now_s) for name in shown), self.footer(now_s)]

    def footer(self, now_s: float) -> str:
        """Return in one line how far the run is."""
        counted = [name for name in self.graph.stages if not self._left_out(name)]
        done = sum(name in self.results for name in counted)
        left_s = self.left_s(now_s)
        about = f", about {duration(left_s)} left" if left_s is not None else ""
        return f"{done} of {len(counted)} stages done, {self._running()} running{about}"

    def left_s(self, now_s: float) -> float | None:
        """Return how long the run takes yet: its longest chain, or all of it divided by the processors.

        None when a stage that is left has never run before.
        """
        after: dict[str, float] = {}
        total = 0.0
        for name, stage in self.graph.stages.items():
            own = 0.0
            if name not in self.results:
                if name not in self.expected_s:
                    return None
                ran_s = now_s - self.started_s[name] if name in self.started_s else 0.0
                own = max(self.expected_s[name] - ran_s, 0.0)
            total += own
            after[name] = own + max((after[need] for need in stage.needs), default=0.0)
        return max([*after.values(), total / max(self.parallel, 1.0)])

    def _line(self, name: str, depth: int, now_s: float) -> str:
        state, said = self._state(name), ""
        result = self.results.get(name)
        if result is not None:
            took = duration(result.duration_s) if result.attempts else ""
            said = "  ".join(part for part in (took, note_of(result)) if part)
        elif state is StageState.RUNNING:
            said = duration(now_s - self.started_s[name])
            said += f" of about {duration(self.expected_s[name])}" if name in self.expected_s else ""
            said += f" (attempt {self.attempts[name]})" if self.attempts[name] > 1 else ""
        return f"{'  ' * depth}{_MARKS[state]} {name}  {said}".rstrip()

    def _state(self, name: str) -> StageState:
        if name in self.results:
            return self.results[name].state
        return StageState.RUNNING if name in self.started_s else StageState.PENDING

    def _running(self) -> int:
        return sum(name not in self.results for name in self.started_s)

    def _left_out(self, name: str) -> bool:
        result = self.results.get(name)
        return result is not None and result.state is StageState.SKIPPED and result.allowed

    def _depths(self) -> dict[str, int]:
        depths: dict[str, int] = {}
        for name, stage in self.graph.stages.items():
            depths[name] = max((depths[need] + 1 for need in stage.needs), default=0)
        return depths
