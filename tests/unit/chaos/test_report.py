"""What a chaos run says of itself."""

import json

from shipway.chaos.judging import Check, ExperimentResult
from shipway.chaos.plan import Kind
from shipway.chaos.report import as_json, lines
from shipway.core.verdicts import Verdict

RESULTS = [
    ExperimentResult(
        Kind.WORKER_KILLED,
        (Check("statuses", Verdict.PASS, "25 of 25"), Check("rollout", Verdict.NO_DATA, "no rollout is under way")),
        {"before": {200: 15}, "during": {0: 1, 200: 24}},
        0.4,
    ),
    ExperimentResult(Kind.REDIS_LOST, reason="the project has no redis", asked_for=False),
]


def test_what_was_not_checked_says_so_with_its_reason():
    told = lines(RESULTS, ["disk-full: process 7 may write again"])

    assert told[0] == "undone, left by an earlier run: disk-full: process 7 may write again"
    assert "PASS         worker-killed" in told
    assert "    during  1 x no reply, 24 x 200" in told
    assert "    NOT_CHECKED  rollout: no rollout is under way" in told
    assert "NOT_CHECKED  redis-lost: the project has no redis" in told
    assert told[-1] == "PASS"


def test_the_json_holds_the_same():
    found = json.loads(json.dumps(as_json(RESULTS, [])))

    assert found["verdict"] == "PASS"
    assert [item["verdict"] for item in found["experiments"]] == ["PASS", "NOT_CHECKED"]
    assert found["experiments"][0]["statuses"]["during"] == {"0": 1, "200": 24}
    assert found["experiments"][0]["promises"][1]["verdict"] == "NOT_CHECKED"


def test_a_problem_stands_beside_its_experiment():
    told = lines([ExperimentResult(Kind.DISK_FULL, problem="not in its usual state")], [])

    assert told == ["ERROR        disk-full: not in its usual state", "ERROR"]
