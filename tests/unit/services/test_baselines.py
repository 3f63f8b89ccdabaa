"""What is known of stable before a rollout, read from a store."""

import pytest
from tests.served import served_request

from shipway.adapters.memory.store import MemoryStore
from shipway.core.observation import QUALITY, about
from shipway.services.baselines import read_baseline

NOW_S = 200_000.0


def request(number, **fields):
    return served_request(
        f"c{number}", **{"at_s": NOW_S - 1000.0 + number, "rollout": None, "candidate_weight": 0.0, **fields}
    )


async def known(store, **fields):
    return await read_baseline(store, "production", "rel", bad_events=("error",), now_s=NOW_S, **fields)


@pytest.mark.anyio
async def test_an_empty_store_knows_nothing():
    baseline = await known(MemoryStore())
    assert (baseline.total.requests, baseline.total.error_rate, baseline.routes) == (0, None, ())


@pytest.mark.anyio
async def test_only_the_releases_own_requests_of_the_last_day_count():
    store = MemoryStore()
    own = [request(n, latency_ms=float(n + 1), events=("error",) if n < 10 else ()) for n in range(200)]
    other = [request(1000 + n, release="other", latency_ms=9e9) for n in range(200)]
    old = [request(2000 + n, at_s=NOW_S - 90_000.0, latency_ms=9e9) for n in range(200)]
    shadow = [request(3000 + n, shadow_of="x", latency_ms=9e9) for n in range(200)]
    await store.records.append([*old, *other, *own, *shadow])
    baseline = await known(store)
    assert (baseline.release, baseline.total.requests, baseline.total.bad_rate) == ("rel", 200, 0.05)
    assert baseline.total.quantile("latency_ms", 0.95) == 190.0
    assert baseline.route("ask").quantile("latency_ms", 0.99) == 198.0
    assert baseline.total.requests_per_s == pytest.approx(0.2)


@pytest.mark.anyio
async def test_judged_scores_become_the_known_quality():
    store = MemoryStore()
    records = [request(n) for n in range(120)]
    await store.records.append(records)
    scores = [about(record, QUALITY, 0.75, at_s=NOW_S - 1.0, mark="", details={}) for record in records]
    await store.observations.append(scores)
    assert (await known(store)).total.quality == pytest.approx(0.75)
    assert (await known(store)).route("ask").quality == pytest.approx(0.75)
