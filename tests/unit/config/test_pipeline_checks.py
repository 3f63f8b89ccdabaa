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


@pytest.mark.parametrize(
    ("stage", "said"),
    [
        ("{run: [x], outputs: ['**']}", "outputs[0]: '**' covers the settings of the project (shipway.yaml)"),
        ("{run: [x], outputs: [./shipway.yaml]}", "outputs[0]: './shipway.yaml' covers the settings of the project"),
        ("{run: [x], metrics: '*.yaml'}", "metrics: '*.yaml' covers the settings of the project"),
        ("{run: [x], outputs: [configs]}", "outputs[0]: 'configs' covers the settings of the project (configs/*.yaml)"),
        ("{run: [x], outputs: ['.git/**']}", "outputs[0]: '.git/**' is in git's own folder"),
        ("{run: [x], outputs: [./sub/.GIT/x]}", "outputs[0]: './sub/.GIT/x' is in git's own folder"),
        ("{run: [x], outputs: ['.shipway/x']}", "outputs[0]: '.shipway/x' is in the folder where Shipway keeps"),
        ("{run: [x], inputs: ['src/[']}", "inputs[0]: 'src/[': the [ is not closed or its range is empty"),
        ("{run: [x], inputs: ['src/[]']}", "inputs[0]: 'src/[]': the [ is not closed"),
        ("{run: [x], inputs: ['src/[z-a]']}", "inputs[0]: 'src/[z-a]': the [ is not closed or its range is empty"),
        ("{run: [x], inputs: ['!x']}", "inputs: these only take files out"),
    ],
)
def test_files_that_no_stage_makes_or_reads_are_refused(tmp_path: Path, stage: str, said: str) -> None:
    found = problems(tmp_path, f"a: {stage}")
    assert len(found) == 1
    assert found[0].startswith("shipway.yaml:6: pipeline.a")
    assert said in found[0]


def test_two_stages_without_order_that_make_one_file_are_refused_with_the_second_ones_line(tmp_path: Path) -> None:
    found = problems(
        tmp_path,
        "a: {run: [x], outputs: [o.txt]}",
        "b: {run: [x], outputs: [b, o.txt]}",
        "c: {run: [x], report: '*.txt'}",
        "d: {run: [x], needs: [a, b, c], outputs: ['o.*']}",
    )
    at_once = "at the same time; let one need the other"
    can = "which can match the same files,"
    assert found == [
        f"shipway.yaml:7: pipeline.b.outputs[1]: 'o.txt' would be made by 'b' and 'a' {at_once}",
        f"shipway.yaml:8: pipeline.c.report: '*.txt' and 'o.txt', {can} would be made by 'c' and 'a' {at_once}",
        f"shipway.yaml:8: pipeline.c.report: '*.txt' and 'o.txt', {can} would be made by 'c' and 'b' {at_once}",
    ]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("{run: [x], outputs: ['a/**']}", "{run: [x], outputs: ['b/**']}"),
        ("{run: [x], outputs: ['dist/*.whl']}", "{run: [x], outputs: ['dist/*.sig']}"),
        ("{run: [x], outputs: [o]}", "{run: [x], outputs: [o], needs: [first]}"),
        ("{run: [x], outputs: [o], when: {events: [push]}}", "{run: [x], outputs: [o], when: {events: [schedule]}}"),
        ("{run: [x], outputs: [o], when: {branches: [main]}}", "{run: [x], outputs: [o], when: {branches: [dev/*]}}"),
        ("{run: [x], outputs: [o], metrics: o}", "{run: [x]}"),
    ],
)
def test_stages_that_never_make_one_file_at_the_same_time_are_fine(tmp_path: Path, first: str, second: str) -> None:
    (tmp_path / "shipway.yaml").write_text(f"{HEAD}  first: {first}\n  second: {second}\n")
    assert list(load_project(tmp_path, {}).project.pipeline) == ["first", "second"]
