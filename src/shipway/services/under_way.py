"""The mark of a rollback that has begun and not ended.

Who deploys meanwhile is told to wait, and `up` finds one whose command was killed.
"""

from dataclasses import dataclass

from shipway.core.ids import ReleaseId
from shipway.services.application import Installation

_KIND = "rollback_under_way"
_LONGEST_S = 180.0
"""No rollback takes longer: a start of `START_TIMEOUT_S`, then the workers' word. An older mark is left over."""


@dataclass(frozen=True, slots=True)
class RollbackMark:
    """A rollback to `release` that `actor` began at `at_s` (Unix time); of an older version the time is 0."""

    release: str
    from_release: str | None
    actor: str
    at_s: float = 0.0


async def mark_rollback(app: Installation, release: ReleaseId, left: ReleaseId | None) -> None:
    """Write down that a rollback begins."""
    body = {"release": release, "from_release": left, "actor": app.actor, "at_s": app.clock.now_s()}
    await app.state.documents.put(_KIND, app.environment, body)


async def unmark_rollback(app: Installation) -> None:
    """Write down that it has ended."""
    await app.state.documents.delete(_KIND, app.environment)


async def marked_rollback(app: Installation) -> RollbackMark | None:
    """Return the rollback that has not ended, also one whose command was killed long ago."""
    found = await app.state.documents.get(_KIND, app.environment)
    return None if found is None else RollbackMark(**found[0])


async def rollback_under_way(app: Installation) -> RollbackMark | None:
    """Return the rollback that somebody's command carries out just now."""
    mark = await marked_rollback(app)
    return mark if mark is not None and 0.0 <= app.clock.now_s() - mark.at_s < _LONGEST_S else None
