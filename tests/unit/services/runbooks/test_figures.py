import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.served import served_request

from shipway.adapters.memory.store import MemoryStore
from shipway.services.runbooks.figures import figures_of, quantile, recent_records


def test_figures_are_by_route_release_and_arm_the_busiest_first():
    records = [served_request(f"a{n}", latency_ms=float(n), ttft_ms=1.0, cost_usd=0.5) for n in range(1, 101)]
    records += [served_request("b", release="new", is_candidate=True, status=502, events=("error",), latency_ms=9e9)]
    records += [served_request("c", release="new", is_candidate=True, status=499, latency_ms=1.0)]

    stable, candidate = figures_of(records)

    assert (stable.requests, stable.failed, stable.p50_ms, stable.p95_ms, stable.p99_ms) == (100, 0, 50, 95, 99)
    assert (stable.ttft_p95_ms, stable.cost_usd, stable.events) == (1.0, 50.0, ())
    assert (candidate.is_candidate, candidate.requests, candidate.failed) == (True, 2, 1)
    # What failed or was cut short says nothing about how long an answer takes.
    assert (candidate.p99_ms, candidate.tokens_per_s, candidate.events) == (None, None, (("error", 1),))


@given(st.lists(st.floats(0, 1e6), min_size=1), st.floats(0.01, 1.0))
def test_a_quantile_is_one_of_the_values_and_so_many_are_not_above_it(values, q):
    found = quantile(values, q)

    assert found in values
    assert sum(value <= found for value in values) >= q * len(values) - 1e-6


@pytest.mark.anyio
async def test_only_users_requests_of_the_window_and_the_environment_count():
    state = MemoryStore()
    known = {"environment": "local", "at_s": 100.0}
    await state.records.append(
        [
            served_request("old", **{**known, "at_s": 10.0}),
            served_request("new", **known),
            served_request("copy", shadow_of="new", **known),
            served_request("elsewhere", **{**known, "environment": "production"}),
        ]
    )

    found = await recent_records(state.records, "local", since_s=50.0)

    assert [record.id for record in found] == ["new"]
