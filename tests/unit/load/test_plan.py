"""Plans: what they refuse, and what stands before their stages."""

import pytest

from shipway.core.errors import UsageError
from shipway.load.plan import DEFAULT_USERS, STAGING_USERS, Kind, Limits, LoadPlan, Stage


def plan(*stages, kind=Kind.RATE, **fields):
    return LoadPlan(kind, stages, **fields)


def test_the_warm_up_stands_first_at_the_first_level_and_is_not_measured():
    whole = plan(Stage(30, 5, 10), warmup_s=4).whole

    assert whole == (Stage(4, 5, 5, measured=False), Stage(30, 5, 10))


def test_without_a_warm_up_only_the_stages_are_there():
    assert plan(Stage(30, 5, 5), warmup_s=0).whole == (Stage(30, 5, 5),)


def test_the_profiles_are_those_of_the_guides():
    assert DEFAULT_USERS[0] == Stage(30, 10, 100)
    assert list(STAGING_USERS) == [Stage(300, 50, 50)]


@pytest.mark.parametrize(
    ("stages", "fields", "said"),
    [
        ((), {}, "no stage asks anything"),
        ((Stage(10, 0, 0),), {}, "no stage asks anything"),
        ((Stage(0, 1, 1),), {}, "more than 0 seconds"),
        ((Stage(10, -1, 1),), {}, "no level below 0"),
        ((Stage(30_000, 0.1, 0.1),), {}, "the longest test"),
        ((Stage(100, 1000, 1000),), {"max_requests": 10}, "more than max_requests 10"),
        ((Stage(10, 1, 1, measured=False),), {}, "no stage is measured"),
        ((Stage(10, 1, 1),), {"think_s": (3.0, 1.0)}, "think_s goes from"),
        ((Stage(10, 1, 1),), {"limits": Limits({"p98_ms": 1.0})}, "no limit is called p98_ms"),
    ],
)
def test_a_plan_that_asks_nothing_or_too_much_is_refused(stages, fields, said):
    with pytest.raises(UsageError, match=said):
        plan(*stages, **fields)
