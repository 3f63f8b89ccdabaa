"""The traffic of the rollout study is what its scenarios say."""

import importlib
import sys
from pathlib import Path

import numpy as np
import pytest

BENCHMARKS = Path(__file__).parents[3] / "benchmarks"


@pytest.fixture
def world(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    monkeypatch.delitem(sys.modules, "rollout_traffic", raising=False)
    return importlib.import_module("rollout_traffic")


def named(world, name):
    scenarios = (*world.UNCHANGED, *world.UNFAVOURABLE, *world.HARMFUL, world.QUALITY, *world.WORSE)
    return next(scenario for scenario in scenarios if scenario.name == name)


def rates(world, name, rollouts=20):
    """Return the share of bad requests on stable and on the candidate over some rollouts."""
    given = [world.traffic(named(world, name), number) for number in range(rollouts)]
    arms = ("bad_stable", "bad_candidate")
    return tuple(np.concatenate([getattr(each, arm) for each in given]).mean() for arm in arms)


def test_the_same_seed_gives_the_same_traffic_and_another_seed_or_purpose_another(world):
    first, again, other, tuning = (
        world.traffic(world.PLAIN, number, purpose=purpose)
        for number, purpose in ((3, "study"), (3, "study"), (4, "study"), (3, "tuning"))
    )
    assert np.array_equal(first.at_s, again.at_s)
    assert np.array_equal(first.bad_candidate, again.bad_candidate)
    assert not np.array_equal(first.at_s[:100], other.at_s[:100])
    assert not np.array_equal(first.at_s[:100], tuning.at_s[:100])


@pytest.mark.parametrize("scenario", ["A/A plain", "A/A heavy users", "A/A shared incident", "A/A day and night"])
def test_nobody_is_harmed_by_an_unchanged_release(world, scenario):
    given = world.traffic(named(world, scenario), 0)
    assert not given.harmful.any()
    assert given.bad_stable.any()
    assert (np.diff(given.at_s) >= 0.0).all()


@pytest.mark.parametrize(("scenario", "base", "worse"), [("errors x2", 0.02, 0.04), ("errors x10", 0.02, 0.2)])
def test_rates_are_those_of_the_scenario(world, scenario, base, worse):
    stable, candidate = rates(world, scenario)
    assert stable == pytest.approx(base, rel=0.05)
    assert candidate == pytest.approx(worse, rel=0.05)


def test_a_quality_drop_is_the_drop_of_the_mean(world):
    stable, candidate = rates(world, "quality -0.1")
    assert candidate - stable == pytest.approx(0.1, abs=0.01)


def test_a_shared_incident_raises_both_arms_alike(world):
    given = world.traffic(named(world, "A/A shared incident"), 1)
    minutes = (given.at_s / 60.0).astype(int)
    by_minute = np.bincount(minutes, weights=given.bad_stable) / np.bincount(minutes)
    assert 15 <= (by_minute > 0.06).sum() <= 25


def test_heavy_users_have_long_conversations_that_fail_together(world):
    plain, heavy = (world.traffic(named(world, f"A/A {kind}"), 0) for kind in ("plain", "heavy users"))
    longest = [np.bincount(given.conversation).max() for given in (plain, heavy)]
    assert longest[0] <= 3
    assert longest[1] > 50

    def bad_a_conversation(given):
        counted = np.bincount(given.conversation, weights=given.bad_stable)
        return counted[counted > 0].mean()

    assert bad_a_conversation(heavy) > 1.3 * bad_a_conversation(plain)


def test_pinned_users_have_one_place_for_all_their_conversations(world):
    free, pinned = (
        world.traffic(named(world, f"A/A {kind}"), 0) for kind in ("dependent conversations", "users pinned to an arm")
    )
    shares = [np.unique(given.place).size / np.unique(given.conversation).size for given in (free, pinned)]
    assert shares[0] == 1.0
    assert shares[1] < 0.6
