"""Whether a process that somebody waits for can still get healthy; evaluations ask while a release's own start."""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from shipway.core.errors import UnavailableError

# Twice in a row is no accident: a missing module or a wrong path does not go away by waiting.
_ENOUGH = 2


class ProcessStarts:
    """Follows what the supervisor says of some processes since the wait began; `recorded` reads what it wrote last."""

    def __init__(self, names: Collection[str], recorded: Callable[[], Sequence[Mapping[str, Any]]]) -> None:
        self._names = names
        self._recorded = recorded
        self._restarts: dict[str, int] = {}

    def require_hope(self) -> None:
        """Check that none of them ends again and again.

        Raises:
            UnavailableError: one does; with its name, how it ended and where its words are.
        """
        for process in self._recorded():
            name, restarts = str(process["name"]), int(process["restarts"])
            if name not in self._names:
                continue
            # What restarted long ago, or under a supervisor of before, counts from where it stood.
            least = self._restarts[name] = min(self._restarts.get(name, restarts), restarts)
            if restarts - least >= _ENOUGH:
                raise UnavailableError(f"{name} ends as soon as it starts: {_ended(process)}", hint=self.hint)

    @property
    def hint(self) -> str:
        """Return where the processes' words are."""
        return "; ".join(f"`shipway logs {name}` says more" for name in self._names) or "`shipway status` says more"


def _ended(process: Mapping[str, Any]) -> str:
    return str(process["problem"]) or f"exit code {process['last_exit']}"
