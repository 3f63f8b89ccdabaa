"""Reads what is known of the stable release before a rollout; `deployments` freezes it in the rollout's row."""

from collections.abc import Collection

from shipway.core.observation import QUALITY
from shipway.core.ports import State
from shipway.core.record import ServedRequest
from shipway.rollouts.baseline import DAY_S, Baseline, baseline_of

# The newest records of the store that are looked at: a day of a small service, the last hours of a busy one.
_RECORDS = 20_000
_OBSERVATIONS = 20_000
_PAGE = 5000


async def read_baseline(
    state: State, environment: str, release: str, *, bad_events: Collection[str], now_s: float
) -> Baseline:
    """Return the baseline of a release from its newest records of the last day; what is too little is None in it."""
    records: list[ServedRequest] = []
    position = max(0, await state.records.last_position() - _RECORDS)
    while page := await state.records.after(position, environment=environment, limit=_PAGE):
        position = page[-1].position
        records += [stored.record for stored in page if stored.record.release == release]
        if len(page) < _PAGE:
            break
    qualities = await _qualities(state, environment, release, now_s=now_s)
    return baseline_of(records, release=release, bad_events=bad_events, now_s=now_s, qualities=qualities)


async def _qualities(state: State, environment: str, release: str, *, now_s: float) -> dict[str, list[float]]:
    """Return the judged scores of a release's answers by route."""
    found: dict[str, list[float]] = {}
    position = max(0, await state.observations.last_position() - _OBSERVATIONS)
    while page := await state.observations.after(
        position, environment=environment, kinds=(QUALITY,), since_s=now_s - DAY_S, limit=_PAGE
    ):
        position = page[-1].position
        for observation in (stored.observation for stored in page):
            if observation.release == release:
                found.setdefault(observation.route, []).append(observation.value)
        if len(page) < _PAGE:
            break
    return found
