"""What a reader of another tool's file returns, and how it may look at the files beside it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from shipway.core.errors import UsageError
from shipway.evals.rows import LineProblem, Row

Neighbours = Callable[[str], tuple[str, str]]
"""Return the name and the text of a file that the imported one names, relative to it.

Raises:
    UsageError: it may not be read, or is not there.
"""


@dataclass(slots=True)
class Imported:
    """Rows as a dataset file of ours would hold them, what cannot be read, and what has no counterpart here."""

    rows: Sequence[Row] = ()
    problems: Sequence[LineProblem] = ()
    dropped: list[str] = field(default_factory=list)


def no_neighbours(name: str) -> tuple[str, str]:
    """Refuse: nobody said where the files are.

    Raises:
        UsageError: always.
    """
    raise UsageError(f"{name!r} cannot be read from here")
