import pytest

from shipway.adapters.echo.faults import FaultKind, FaultPlan, Faults, parse_plan
from shipway.adapters.openai_http.wire import RefusedError


def test_the_same_plan_fails_the_same_requests_again():
    faults, plan = Faults(), FaultPlan(FaultKind.ERROR_500, rate=0.3, seed=7)
    runs = []
    for _ in range(2):
        faults.set(plan)
        runs.append([faults.draw("echo") is not None for _ in range(200)])
    assert runs[0] == runs[1]
    assert 30 < sum(runs[0]) < 90


def test_a_marker_in_the_models_name_always_fails():
    faults = Faults()
    assert faults.draw("echo:slow=25") == FaultPlan(FaultKind.SLOW, 1.0, 25.0)
    assert faults.draw("echo:cut_mid").kind is FaultKind.CUT_MID
    assert faults.draw("qwen:7b") is None


def test_an_empty_plan_ends_all_faults():
    assert parse_plan(b"{}") == parse_plan(b"") == FaultPlan()


@pytest.mark.parametrize(
    "body", [b"[]", b'{"kind": "explode"}', b'{"kind": "slow", "rate": 2}', b'{"rate": "x"}', b"{"]
)
def test_a_plan_that_is_none_is_refused(body):
    with pytest.raises(RefusedError):
        parse_plan(body)
