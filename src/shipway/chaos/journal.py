"""What must be undone: written down before a fault is made, struck out after it was taken away.

A run that dies in between leaves it for the next one, which undoes it first.
"""

from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Undo:
    """One thing to undo.

    `engines`: the addresses of engines that gateways are to ask again. `resume`: processes that were stopped.
    `file_sizes`: the limit of file sizes that processes had, -1 for none. Processes are (pid, start): a pid alone may
    be another process's by then. What another `supervisor` started since asks its own engines.
    """

    experiment: str
    engines: dict[str, str] = field(default_factory=dict, hash=False)
    resume: tuple[tuple[int, int], ...] = ()
    file_sizes: tuple[tuple[int, int, int], ...] = ()
    supervisor: tuple[int, int] = (0, 0)

    @property
    def is_needed(self) -> bool:
        """Return whether there is anything to undo."""
        return bool(self.engines or self.resume or self.file_sizes)

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> "Undo":
        """Return what a JSON form says.

        Raises:
            ValueError: it is none.
        """
        try:
            return cls(
                str(data["experiment"]),
                {str(alias): str(url) for alias, url in data["engines"].items()},
                tuple((int(pid), int(started)) for pid, started in data["resume"]),
                tuple((int(pid), int(started), int(soft)) for pid, started, soft in data["file_sizes"]),
                (int(data["supervisor"][0]), int(data["supervisor"][1])),
            )
        except (KeyError, TypeError, AttributeError, IndexError) as error:
            raise ValueError(f"no journal of a chaos run: {error!r}") from error
