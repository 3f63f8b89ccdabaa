"""Shadow copies compared with the answers that users got, from the records alone; the control process runs this.

Utility is 0 for a request with a bad event and 1 for any other; what is observed is the shadow's less the user's.
"""

from collections.abc import Collection
from dataclasses import dataclass, replace

from shipway.core.clock import Clock
from shipway.core.observation import PAIR, Observation, about
from shipway.core.ports import State, StoredRecord
from shipway.core.record import ServedRequest

CURSOR_KIND = "quality_cursor"

_PAGE = 2000
_LOOK_BACK = 20_000
"""Records that are looked at where nobody was looking: not millions for a copy that nobody made."""
_PATIENCE_S = 60.0
"""How long a copy waits for the record of the user's request."""
_LINGER_S = 600.0
"""How long records are read on after the last route lost its shadow."""


@dataclass(slots=True)
class PairObserver:
    """Follows the records of an environment; any number of them may run, an id is observed once."""

    state: State
    clock: Clock
    environment: str
    position: int = 0
    shadowed_until_s: float | None = None

    async def is_due(self) -> bool:
        """Tell whether a route has a shadow, or had one a short time ago."""
        if self.shadowed_until_s is None:
            self.shadowed_until_s = (await self._cursor())[2]
        snapshot = await self.state.snapshots.read(self.environment)
        if any(route.shadow is not None for route in snapshot.routes):
            self.shadowed_until_s = self.clock.now_s() + _LINGER_S
        return self.clock.now_s() < self.shadowed_until_s

    async def observe(self, bad_events: Collection[str]) -> int:
        """Observe the pairs that are complete; return how many were new."""
        await self._begin()
        found = 0
        while True:
            page = await self.state.records.after(self.position, environment=self.environment, limit=_PAGE)
            pairs, seen = await self._paired(page, frozenset(bad_events))
            found += await self.state.observations.append(pairs) if pairs else 0
            if seen > self.position:
                self.position = seen
                await self._save()
            if len(page) < _PAGE or seen < page[-1].position:
                return found

    async def _paired(self, page: list[StoredRecord], bad: frozenset[str]) -> tuple[list[Observation], int]:
        """Return what a page shows and the position up to which it was read."""
        users = {stored.record.id: stored.record for stored in page if not stored.record.shadow_of}
        pairs: list[Observation] = []
        seen = self.position
        for stored in page:
            copy = stored.record
            if copy.shadow_of:
                user = users.get(copy.shadow_of) or await self.state.records.find(copy.shadow_of)
                if user is not None:
                    pairs.append(pair_of(user, copy, bad, at_s=self.clock.now_s()))
                elif self.clock.now_s() - copy.at_s < _PATIENCE_S:
                    break
            seen = stored.position
        return pairs, seen

    async def _begin(self) -> None:
        saved, at_s, _ = await self._cursor()
        if self.clock.now_s() - at_s > _LINGER_S:
            saved = max(saved, await self.state.records.last_position() - _LOOK_BACK)
        self.position = max(self.position, saved)

    async def _cursor(self) -> tuple[int, float, float]:
        """Return the position, when it was saved, and until when there was something to compare."""
        found = await self.state.documents.get(CURSOR_KIND, self._key)
        body = {} if found is None else found[0]
        return int(body.get("position", 0)), float(body.get("at_s", 0.0)), float(body.get("shadowed_until_s", 0.0))

    async def _save(self) -> None:
        body = {"position": self.position, "at_s": self.clock.now_s(), "shadowed_until_s": self.shadowed_until_s or 0.0}
        await self.state.documents.put(CURSOR_KIND, self._key, body)

    @property
    def _key(self) -> str:
        return f"{self.environment}/pairs"


def pair_of(user: ServedRequest, copy: ServedRequest, bad: Collection[str], *, at_s: float) -> Observation:
    """Return what the records of a request and of its copy say.

    It stands at the weight, in the rollout and in the conversation of the user; the release is the copy's.
    """
    stable, shadow = _utility(user, bad), _utility(copy, bad)
    details: dict[str, float | str] = {"stable": stable, "shadow": shadow, "stable_release": user.release}
    return paired(user, copy, PAIR, shadow - stable, at_s=at_s, details=details)


def paired(
    user: ServedRequest,
    copy: ServedRequest,
    kind: str,
    value: float,
    *,
    at_s: float,
    details: dict[str, float | str],
) -> Observation:
    """Return a pair observation about a copy, with what was in force for the user."""
    return replace(
        about(copy, kind, value, at_s=at_s, mark="", details=details),
        is_candidate=True,
        candidate_weight=user.candidate_weight,
        rollout=user.rollout,
        conversation=user.conversation,
    )


def _utility(record: ServedRequest, bad: Collection[str]) -> float:
    return 0.0 if any(event in bad for event in record.events) else 1.0
