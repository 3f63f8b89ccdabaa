"""A run in memory: what tests and short checks use in place of a run directory."""

from collections.abc import Sequence

from shipway.evals.model import Attempt, Case


class MemoryRun:
    """Implements `evals.ports.RunSink`."""

    def __init__(self) -> None:
        self._kept: dict[tuple[str, str, int], Attempt] = {}

    def write(self, target: str, attempt: Attempt) -> None:
        """Keep one attempt; the later of two of one place counts."""
        self._kept[target, attempt.case_id, attempt.repeat] = attempt

    def finished(self, target: str) -> frozenset[tuple[str, int]]:
        """Return the case and repeat of every answer that is no error."""
        return frozenset(
            (case, repeat)
            for (name, case, repeat), attempt in self._kept.items()
            if name == target and attempt.output.error is None
        )

    def attempts(self, target: str, cases: Sequence[Case], repeats: int) -> tuple[Attempt, ...]:
        """Return what there is of a target, by repeat and case."""
        places = [(target, case.id, repeat) for repeat in range(repeats) for case in cases]
        return tuple(self._kept[place] for place in places if place in self._kept)
