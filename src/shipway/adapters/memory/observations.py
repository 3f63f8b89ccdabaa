"""Observations in memory, with the semantics of `adapters/sql/observations`; `store` holds them."""

from collections.abc import Collection, Sequence

from shipway.adapters.state import plain
from shipway.core.observation import Observation, StoredObservation


class MemoryObservations:
    """Observations in order of arrival."""

    def __init__(self) -> None:
        self._stored: list[StoredObservation] = []
        self._ids: dict[str, Observation] = {}

    async def append(self, observations: Sequence[Observation]) -> int:
        """Store observations whose id is new."""
        own = [Observation.from_dict(plain(item.to_dict(), f"observation {item.id!r}")) for item in observations]
        before = len(self._stored)
        for item in own:
            if item.id not in self._ids:
                self._ids[item.id] = item
                self._stored.append(StoredObservation(len(self._stored) + 1, item))
        return len(self._stored) - before

    async def find(self, observation_id: str) -> Observation | None:
        """Return the observation of this id."""
        return self._ids.get(observation_id)

    async def after(
        self,
        position: int,
        *,
        environment: str,
        rollout: str | None = None,
        kinds: Collection[str] = (),
        since_s: float | None = None,
        limit: int = 5000,
    ) -> list[StoredObservation]:
        """Return observations after `position`, oldest first."""
        found = (
            stored
            for stored in self._stored[position:]
            if stored.observation.environment == environment
            and rollout in {None, stored.observation.rollout}
            and (not kinds or stored.observation.kind in kinds)
            and (since_s is None or stored.observation.at_s >= since_s)
        )
        return [stored for stored, _ in zip(found, range(limit), strict=False)]

    async def last_position(self) -> int:
        """Return the newest observation's position."""
        return len(self._stored)
