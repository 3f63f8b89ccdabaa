"""What is promised by default, and what plan files change of it."""

import pytest

from shipway.chaos.plan import STEADY, Kind, Setting, default_experiments, promised
from shipway.chaos.plan_file import ChaosSection, planned, read_plan
from shipway.core.errors import ConfigError, NotFoundError

SETTING = Setting(workers=2, llm_timeout_s=10.0)


@pytest.mark.parametrize("kind", list(Kind))
def test_every_fault_has_promises_that_bound_how_long_a_request_takes(kind):
    found = promised(kind, SETTING)

    assert found.answered_within_s == 15.0
    assert 500 not in found.statuses
    assert found.records
    assert found.retry_after


def test_only_a_killed_worker_may_cut_requests():
    assert [kind for kind in Kind if 0 in promised(kind, SETTING).statuses] == [Kind.WORKER_KILLED]


def test_more_workers_promise_more():
    one, two = (promised(Kind.WORKER_KILLED, Setting(workers=count)).min_served for count in (1, 2))

    assert one < two


def test_a_lost_redis_promises_what_the_project_says():
    closed = promised(Kind.REDIS_LOST, Setting())
    shared = promised(Kind.REDIS_LOST, Setting(on_redis_loss="local_share"))

    assert (closed.statuses, closed.min_served) == ((200, 503), 0.0)
    assert (shared.statuses, shared.min_served) == ((200,), STEADY)


def test_by_default_all_faults_are_made_and_a_slow_engine_is_slower_than_the_time_limit():
    found = default_experiments(SETTING)

    assert [item.kind for item in found] == list(Kind)
    assert not any(item.asked_for for item in found)
    slow = next(item for item in found if item.kind is Kind.ENGINE_SLOW)
    assert slow.delay_s > SETTING.llm_timeout_s


@pytest.fixture
def plan(tmp_path):
    def written(text):
        path = tmp_path / "chaos.yaml"
        path.write_text(text)
        return path

    return written


def test_a_plan_names_faults_and_changes_promises(plan):
    text = """
route: chat
rate: 2
steady_s: 1
experiments:
  - { fault: engine-slow, for_s: 3, delay_s: 4, share: 0.5, promises: { statuses: [200], min_served: 0.9 } }
"""
    found = planned(read_plan(plan(text)), SETTING)

    (only,) = found.experiments
    assert (found.route, found.rate, found.steady_s) == ("chat", 2, 1)
    assert (only.kind, only.fault_s, only.delay_s, only.share) == (Kind.ENGINE_SLOW, 3, 4, 0.5)
    assert (only.promises.statuses, only.promises.min_served) == ((200,), 0.9)
    assert only.promises.answered_within_s == 15.0
    assert only.asked_for


def test_a_plan_without_experiments_makes_all_faults(plan):
    assert len(planned(read_plan(plan("route: chat")), SETTING).experiments) == len(Kind)
    assert len(planned(ChaosSection(), SETTING).experiments) == len(Kind)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("rtae: 5", "chaos.yaml:1: rtae: unknown key"),
        ("experiments: [{ fault: engine-on-fire }]", "chaos.yaml:1: experiments[0].fault"),
        ("experiments: [{ fault: disk-full, promises: { stat: [1] } }]", "promises.stat: unknown key"),
        ("processes: { mysql: 3 }", "chaos.yaml:1: processes: give redis or postgres"),
        ("rate: 0", "chaos.yaml:1: rate: must be greater than 0"),
        ("key: swk_clear", "secret stands here in clear text"),
    ],
)
def test_a_wrong_plan_says_where_it_is_wrong(plan, text, said):
    with pytest.raises(ConfigError) as caught:
        read_plan(plan(text))

    assert said in str(caught.value)
    assert "swk_clear" not in str(caught.value)


def test_a_missing_plan_is_not_found(tmp_path):
    with pytest.raises(NotFoundError):
        read_plan(tmp_path / "none.yaml")
