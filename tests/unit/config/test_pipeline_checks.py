"""What is wrong with a pipeline is told with file, line, key and value, before anything runs."""

from pathlib import Path

import pytest

from shipway.config.loading import load_project
from shipway.core.errors import ConfigError

HEAD = """\
app: shop
models: {main: {engine: echo, model: echo}}
prompts: {answer: prompts/answer.md}
routes: {chat: {kind: chat, model: main, prompt: answer}}
pipeline:
"""


def problems(root: Path, *lines: str) -> list[str]:
    (root / "shipway.yaml").write_text(HEAD + "".join(f"  {line}\n" for line in lines))
    with pytest.raises(ConfigError) as refused:
        load_project(root, {})
    return refused.value.problems


def test_a_circle_is_named_with_the_line_of_its_first_need(tmp_path: Path) -> None:
    found = problems(tmp_path, "a: {run: [x], needs: [b]}", "b: {run: [x], needs: [c]}", "c: {run: [x], needs: [a]}")
    said = "stages need each other in a circle: a needs b needs c needs a; remove one of these needs"
    assert found == [f"shipway.yaml:6: pipeline.a.needs: {said}"]


def test_a_need_that_is_not_there_is_named_with_what_there_is(tmp_path: Path) -> None:
    found = problems(tmp_path, "lint: {run: [x]}", "test: {run: [x], needs: [lnt]}")
    assert found == ["shipway.yaml:7: pipeline.test.needs[0]: 'lnt' is not in pipeline (it has lint, test)"]


def test_a_stage_that_is_given_twice_is_refused_with_both_lines(tmp_path: Path) -> None:
    found = problems(tmp_path, "lint: {run: [x]}", "lint: {run: [y]}")
    assert found == ["shipway.yaml:7: pipeline.lint: given twice, first in line 6"]


def test_two_stages_whose_results_would_be_one_variable_are_refused(tmp_path: Path) -> None:
    found = problems(tmp_path, "unit-tests: {run: [x]}", "unit_tests: {run: [y]}")
    said = "'unit-tests' and 'unit_tests' would share the variables SHIPWAY_STAGE_UNIT_TESTS_*; rename one of them"
    assert found == [f"shipway.yaml:7: pipeline.unit_tests: {said}"]


@pytest.mark.parametrize(
    ("stage", "said"),
    [
        ("{run: [x], when: {moon: full}}", "pipeline.a.when.moon: unknown key"),
        ("{run: [x], when: {events: [psh]}}", "pipeline.a.when.events[0]: must be 'push', 'pull_request'"),
        ("{run: [x], when: {tiers: [huge]}}", "pipeline.a.when.tiers[0]: must be 'smoke', 'pr' or 'full'"),
        ("{run: [x], when: {changed: [docs]}}", "pipeline.a.when.changed[0]: must be 'code', 'prompt'"),
        ("{run: [x], uses: release}", "pipeline.a: give exactly one of run, uses, entry"),
        ("{needs: []}", "pipeline.a: give exactly one of run, uses, entry"),
        ("{run: []}", "pipeline.a: run: give the command as a list"),
        ("{run: [x], with: {a: 1}}", "pipeline.a: with: a command has its options in run"),
        ("{entry: checks}", "pipeline.a.entry: 'checks' is not a module and a function"),
        ("{run: [x], inputs: [../data]}", "pipeline.a.inputs[0]: '../data' leaves the project's folder"),
        ("{run: [x], outputs: [/tmp/x]}", "pipeline.a.outputs[0]: '/tmp/x' leaves the project's folder"),
        ("{run: [x], outputs: ['!x']}", "pipeline.a.outputs[0]: '!x': only inputs can take files out"),
        ("{run: [x], inputs: [.shipway/x]}", "pipeline.a.inputs[0]: '.shipway/x' is in the folder where Shipway keeps"),
        ("{run: [x], cache: true}", "pipeline.a: cache: true says nothing without inputs"),
        ("{run: [x], gate: [{metric: f1}]}", "pipeline.a.gate[0]: f1: give min, max or both"),
        ("{run: [x], gate: [{metric: f1, min: 2, max: 1}]}", "pipeline.a.gate[0]: f1: min 2 is above max 1"),
        ("{run: [x], retries: 1, retry_on: [flaky]}", "pipeline.a.retry_on[0]: must be 'error', 'fail'"),
        ("{run: [x], retry_on: [timeout]}", "pipeline.a: retry_on: give retries too"),
        ("{uses: evaluate, retries: 1, retry_on: [fail]}", "pipeline.a: retry_on: fail would repeat the verdict"),
        ("{run: [x], resources: {cpus: 0}}", "pipeline.a.resources.cpus: must be greater than 0, not 0"),
        ("{run: [x], shards: 0}", "pipeline.a.shards: must be at least 1, not 0"),
    ],
)
def test_what_no_stage_can_be_is_refused_with_key_and_value(tmp_path: Path, stage: str, said: str) -> None:
    found = problems(tmp_path, f"a: {stage}")
    assert len(found) == 1
    assert found[0].startswith(f"shipway.yaml:6: {said}"), found
