"""The verdict of a run is made of the stages that said something."""

import pytest

from shipway.core.verdicts import Verdict
from shipway.pipeline.model import RunReport, StageResult, StageState, exit_verdict


def result(state: StageState, verdict: Verdict = Verdict.NO_DATA, *, allowed: bool = False) -> StageResult:
    return StageResult(state.value, state, verdict, allowed=allowed)


def verdict_of(*results: StageResult) -> Verdict:
    return RunReport("run", 0.0, 1.0, results).verdict


PASSED = result(StageState.PASSED, Verdict.PASS)


@pytest.mark.parametrize(
    ("code", "verdict"),
    [
        (0, Verdict.PASS),
        (1, Verdict.FAIL),
        (2, Verdict.ERROR),
        (3, Verdict.ERROR),
        (4, Verdict.INCONCLUSIVE),
        (5, Verdict.ERROR),
        (127, Verdict.ERROR),
        (-9, Verdict.ERROR),
    ],
)
def test_an_exit_code_has_one_verdict(code: int, verdict: Verdict) -> None:
    assert exit_verdict(code) is verdict


@pytest.mark.parametrize("verdict", [Verdict.FAIL, Verdict.ERROR, Verdict.INCONCLUSIVE, Verdict.NO_DATA])
def test_one_failed_stage_decides_the_run_whatever_was_skipped_for_it(verdict: Verdict) -> None:
    failed = result(StageState.FAILED, verdict)
    assert verdict_of(PASSED, failed, result(StageState.SKIPPED), result(StageState.CANCELLED)) is verdict


def test_an_allowed_failure_does_not_count_against_the_run() -> None:
    assert verdict_of(result(StageState.FAILED, Verdict.ERROR, allowed=True)) is Verdict.PASS


def test_an_error_outranks_a_failure() -> None:
    assert (
        verdict_of(result(StageState.FAILED, Verdict.FAIL), result(StageState.FAILED, Verdict.ERROR)) is Verdict.ERROR
    )


def test_metrics_are_the_numbers_among_the_outputs() -> None:
    stage = StageResult("a", StageState.PASSED, outputs={"score": 0.5, "n": 3, "ok": True, "name": "x"})
    assert stage.metrics == {"score": 0.5, "n": 3.0}


def test_the_json_form_of_a_run_names_every_stage() -> None:
    body = RunReport("run1", 10.0, 2.0, (PASSED,)).to_dict()
    assert (body["run_id"], body["verdict"], [stage["state"] for stage in body["stages"]]) == (
        "run1",
        "PASS",
        ["passed"],
    )
