"""Promises: kept, broken, or not checked."""

from dataclasses import replace

import pytest

from shipway.chaos.judging import (
    ExperimentResult,
    Observation,
    Observed,
    is_steady,
    judge,
    served_share,
    whole_verdict,
)
from shipway.chaos.plan import Experiment, Kind, Promises
from shipway.core.verdicts import Verdict

PROMISES = Promises((200, 503), min_served=0.5, answered_within_s=2.0, recovers_within_s=10.0)


def ok(count=10, **fields):
    return tuple(Observation("chat", 200, 10.0, f"req_{number}", **fields) for number in range(count))


def refused(count=1, **fields):
    usual = {"retry_after": True, "openai_error": True}
    return tuple(Observation("chat", 503, 10.0, **{**usual, **fields}) for _ in range(count))


def observed(**fields):
    usual = {"before": ok(), "during": (*ok(8), *refused(2)), "after": ok(), "recovered_after_s": 1.0, "unrecorded": ()}
    return Observed(**{**usual, **fields})


def checked(promises=PROMISES, **fields):
    result = judge(Experiment(Kind.WORKER_KILLED, promises), observed(**fields))
    return result, {check.name: check for check in result.checks}


def test_every_promise_that_held_is_told_with_what_it_held_for():
    result, checks = checked()

    assert result.verdict is Verdict.PASS
    assert checks["statuses"].message == "10 of 10"
    assert checks["retry-after"].message == "2 of 2"
    assert checks["recovers"].message == "after 1.0 s, promised 10 s"
    assert result.statuses["during"] == {200: 8, 503: 2}


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        ("statuses", {"during": (*ok(9), Observation("chat", 500, 1.0, openai_error=True))}),
        ("statuses", {"during": (*ok(9), Observation("chat", 0, 1.0, problem="cut off"))}),
        ("served", {"during": (*ok(4), *refused(6))}),
        ("retry-after", {"during": (*ok(9), *refused(retry_after=False))}),
        ("errors like OpenAI's", {"during": (*ok(9), *refused(openai_error=False))}),
        ("ends within 2 s", {"during": (*ok(9), Observation("chat", 200, 2001.0))}),
        ("no answer without a record", {"unrecorded": ("req_3",)}),
        ("recovers", {"recovered_after_s": None}),
        ("recovers", {"after": (*ok(5), *refused(5))}),
        ("other routes", {"others": (*ok(5), *refused(5))}),
        ("rollout", {"rollout_before": "progressing", "rollout_after": "rolled_back"}),
        ("rollout", {"rollout_before": "progressing", "rollout_after": "rolling_back"}),
    ],
)
def test_a_promise_that_broke_fails(name, fields):
    result, checks = checked(**fields)

    assert {item for item, check in checks.items() if check.verdict is Verdict.FAIL} == {name}
    assert result.verdict is Verdict.FAIL


def test_a_broken_promise_says_how_often_and_by_what():
    _, checks = checked(during=(*ok(8), *(Observation("chat", 0, 1.0, problem="cut off") for _ in range(2))))

    assert checks["statuses"].message == "broken by 2 of 10: no reply (cut off)"


def test_a_rollout_that_paused_was_not_rolled_back():
    _, checks = checked(rollout_before="progressing", rollout_after="paused")

    assert checks["rollout"].verdict is Verdict.PASS


def test_what_nobody_could_look_at_is_not_checked_and_decides_nothing():
    result, checks = checked(unrecorded=None, during=ok())

    unchecked = {name for name, check in checks.items() if check.verdict is Verdict.NO_DATA}
    assert unchecked == {"no answer without a record", "retry-after", "errors like OpenAI's", "rollout"}
    assert result.verdict is Verdict.PASS


def test_what_is_not_promised_is_not_checked():
    nothing = replace(PROMISES, min_served=0.0, retry_after=False, openai_errors=False, records=False, rollout=False)

    _, checks = checked(nothing)

    assert set(checks) == {"statuses", "ends within 2 s", "recovers"}


def test_an_experiment_that_could_not_be_judged_is_an_error():
    assert ExperimentResult(Kind.DISK_FULL, problem="not steady").verdict is Verdict.ERROR


def test_what_cannot_be_done_here_counts_only_when_it_was_asked_for():
    done = ExperimentResult(Kind.DISK_FULL, judge(Experiment(Kind.DISK_FULL, PROMISES), observed()).checks)
    foreign = ExperimentResult(Kind.REDIS_LOST, reason="no redis", asked_for=False)

    assert whole_verdict([done, foreign]) is Verdict.PASS
    assert whole_verdict([done, replace(foreign, asked_for=True)]) is Verdict.NO_DATA
    assert whole_verdict([foreign]) is Verdict.NO_DATA


def test_the_usual_state_is_nearly_every_request_served():
    assert is_steady((*ok(19), *refused()))
    assert not is_steady((*ok(9), *refused()))
    assert not is_steady(())
    assert served_share(()) == 0.0
