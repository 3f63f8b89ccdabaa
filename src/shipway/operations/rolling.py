"""Replacing processes one after the other while they work; `services.supervise` runs it inside the supervisor.

The next process is replaced when the successor of the one before serves, not when its predecessor has ended: there are
never fewer processes that take work than before, and the whole takes as long as the longest work under way.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from anyio.abc import TaskGroup

from shipway.core.errors import UnavailableError
from shipway.operations.supervision import Supervisor

Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Rolled:
    """What was replaced, and which of those before had to be killed because they did not end."""

    replaced: tuple[str, ...]
    killed: tuple[str, ...]


async def roll(
    supervisor: Supervisor, names: Sequence[str], group: TaskGroup, *, within_s: float, tell: Tell
) -> Rolled:
    """Replace each process by a successor that serves; returns when those before have ended.

    `within_s` is what each successor has until it must serve.

    Raises:
        UnavailableError: a successor did not serve; its predecessor and all that were not reached stay.
    """
    leaving = {}
    for name in names:
        try:
            leaving[name] = await supervisor.replace(name, group, within_s=within_s)
        except UnavailableError as error:
            done = f"; replaced before: {', '.join(leaving)}" if leaving else ""
            raise UnavailableError(f"the successor of {name} failed: {error.message}; {name} goes on{done}") from error
        tell(f"{name} is replaced; the one before finishes its requests")
    killed = [name for name, departure in leaving.items() if not await departure.wait()]
    return Rolled(tuple(names), tuple(killed))
