"""The key of a stage: whatever decides the result is in it, and nothing else."""

from dataclasses import replace

import pytest

from shipway.core.verdicts import Verdict
from shipway.pipeline.keys import Surroundings, differences, key_parts, lineage_of, stage_key
from shipway.pipeline.model import StageResult, StageState
from shipway.pipeline.spec import Limit, Resources, StageSpec, When

STAGE = StageSpec("a", run=("x",), inputs=("src/**",), outputs=("dist",), env=("MODE",))
FOUND = Surroundings(
    files={"src/a": "sha256:1"}, needs={"b": "sha256:2"}, variables={"MODE": "fast"}, tools={"ruff": "0.1"}
)


def key(stage: StageSpec = STAGE, found: Surroundings = FOUND) -> str:
    return stage_key(key_parts(stage, found))


@pytest.mark.parametrize(
    "other",
    [
        replace(STAGE, run=("x", "y")),
        replace(STAGE, run=None, entry="a:b"),
        replace(STAGE, run=None, uses="x"),
        replace(STAGE, run=None, uses="x", with_={"a": 1}),
        replace(STAGE, inputs=("src/**", "tests/**")),
        replace(STAGE, outputs=("dist", "more")),
        replace(STAGE, env=("MODE", "OTHER")),
        replace(STAGE, metrics="m.json"),
        replace(STAGE, gate=(Limit("x", min=1),)),
        replace(STAGE, report="r.xml"),
        replace(STAGE, image="python@sha256:1"),
    ],
)
def test_another_definition_is_another_key(other: StageSpec) -> None:
    assert key(other) != key()


@pytest.mark.parametrize(
    "other",
    [
        replace(FOUND, files={"src/a": "sha256:9"}),
        replace(FOUND, files={"src/b": "sha256:1"}),
        replace(FOUND, files={}),
        replace(FOUND, needs={"b": "sha256:9"}),
        replace(FOUND, variables={"MODE": "slow"}),
        replace(FOUND, variables={}),
        replace(FOUND, variables={"MODE": ""}),
        replace(FOUND, tools={"ruff": "0.2"}),
    ],
)
def test_other_surroundings_are_another_key(other: Surroundings) -> None:
    assert key(found=other) != key()


@pytest.mark.parametrize(
    "same",
    [
        replace(STAGE, timeout_s=1.0),
        replace(STAGE, retries=3, retry_on=("timeout",)),
        replace(STAGE, resources=Resources(cpus=2)),
        replace(STAGE, when=When(tiers=("full",))),
        replace(STAGE, shards=2, concurrency="x", environment="y"),
    ],
)
def test_how_long_when_and_where_a_stage_runs_decides_no_result(same: StageSpec) -> None:
    assert key(same) == key()


def test_a_variable_that_was_not_declared_decides_nothing() -> None:
    assert key(found=replace(FOUND, variables={"MODE": "fast", "HOME": "/x"})) == key()


def test_the_value_of_a_variable_is_in_no_part() -> None:
    parts = key_parts(STAGE, replace(FOUND, variables={"MODE": "s3cret-value"}))
    assert "s3cret-value" not in str(parts)


def test_differences_name_what_is_new_gone_and_changed() -> None:
    before = {"tool ruff": "0.1", "input a": "sha256:1", "input b": "sha256:2"}
    now = {"tool ruff": "0.2", "input a": "sha256:9", "input c": "sha256:3"}
    assert list(differences(before, now)) == [
        "input a changed",
        "input b is gone",
        "input c is new",
        "tool ruff changed from 0.1 to 0.2",
    ]


def test_the_lineage_is_what_is_handed_on_and_not_how_long_it_took() -> None:
    result = StageResult("a", StageState.PASSED, Verdict.PASS, 0, 1.5, 1, outputs={"x": 1}, files={"d": "sha256:1"})
    same = replace(result, duration_s=9.0, attempts=3, output_tail="other", known="cache")
    assert lineage_of(result, {"n": "1"}) == lineage_of(same, {"n": "1"})
    for other in (
        replace(result, outputs={"x": 2}),
        replace(result, files={"d": "sha256:2"}),
        replace(result, verdict=Verdict.FAIL, state=StageState.FAILED),
    ):
        assert lineage_of(other, {"n": "1"}) != lineage_of(result, {"n": "1"})
    assert lineage_of(result, {"n": "2"}) != lineage_of(result, {"n": "1"})
