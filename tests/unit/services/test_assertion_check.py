"""What evaluations name and is not there or not right is found with file, line and key before anything is asked."""

import json
import sys

import anyio
import pytest

from shipway.config.loading import load_project
from shipway.services.assertion_check import evaluation_problems

PROJECT = """\
app: shop
models: { m: { engine: echo, model: echo } }
routes: { chat: { kind: chat, model: m } }
"""


@pytest.fixture
def project(tmp_path):
    (tmp_path / "evals").mkdir()
    (tmp_path / "shipway.yaml").write_text(PROJECT)
    (tmp_path / "good_checks.py").write_text("def fine(case, output):\n    return True\n")
    (tmp_path / "good.json").write_text('{"type": "object"}')
    return tmp_path


def problems(root, *cases, settings=""):
    (root / "shipway.yaml").write_text(PROJECT + settings)
    rows = [{"id": f"c{n}", "question": "A?", "assert": entries} for n, entries in enumerate(cases)]
    (root / "evals" / "cases.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return anyio.run(evaluation_problems, load_project(root, {}))


def schema(file):
    return {"type": "json-schema", "file": file}


def function(path):
    return {"type": "python", "value": path}


def test_schemas_and_functions_that_are_there_are_no_problem(project):
    group = {"type": "assert-set", "assert": [schema("good.json")]}
    assert problems(project, [schema("good.json"), function("good_checks:fine")], [group]) == []


def test_schemas_that_are_missing_or_none_are_found_in_their_cases(project):
    (project / "torn.json").write_text('{"type":\n')
    (project / "list.json").write_text("[]")
    (project / "far.json").write_text('{"$ref": "https://far.example/s.json"}')
    group = {"type": "assert-set", "assert": [{"type": "is-json"}, schema("far.json")]}

    found = problems(
        project, [{"type": "is-json"}, schema("gone.json")], [schema("torn.json")], [schema("list.json"), group]
    )

    assert found[0] == (
        "evals/cases.jsonl:1: assert[1].file: gone.json: cannot be read: No such file or directory;"
        " write the file or correct the path"
    )
    assert found[1].startswith("evals/cases.jsonl:2: assert[0].file: torn.json:2: not JSON: ")
    assert found[2].startswith("evals/cases.jsonl:3: assert[0].file: list.json: a JSON Schema is an object")
    assert found[3].startswith(
        "evals/cases.jsonl:3: assert[1].assert[1].file: far.json: not a usable JSON Schema: it refers"
    )
    assert len(found) == 4


def test_what_many_cases_name_is_said_once(project):
    assert len(problems(project, [schema("gone.json")], [schema("gone.json")])) == 1


@pytest.mark.parametrize(
    ("source", "path", "said"),
    [
        ("", "no_such_module:f", "function 'no_such_module:f' cannot be imported: No module named"),
        ("", "bad_checks:f", "has no attribute 'f'"),
        ("f = 3\n", "bad_checks:f", "'bad_checks:f' is int, not a function"),
        ("\n1 / 0\n", "bad_checks:f", "ZeroDivisionError: division by zero (bad_checks.py:2); correct the module"),
        ("def f(:\n", "bad_checks:f", "SyntaxError: "),
        ("import sys\nsys.exit(3)\n", "bad_checks:f", "SystemExit: 3 (bad_checks.py:2)"),
    ],
)
def test_functions_that_cannot_be_called_are_found(project, monkeypatch, source, path, said):
    monkeypatch.delitem(sys.modules, "bad_checks", raising=False)
    (project / "bad_checks.py").write_text(source)
    (found,) = problems(project, [function(path)])
    assert found.startswith("evals/cases.jsonl:1: assert[0].value: ")
    assert said in found
    monkeypatch.delitem(sys.modules, "bad_checks", raising=False)


def test_a_language_that_nobody_knows_is_found(project):
    (found,) = problems(project, [{"type": "language", "value": "dee"}])
    assert found.startswith("evals/cases.jsonl:1: assert[0].value: language: no language 'dee'")


def test_cases_of_other_datasets_are_looked_at_too(project):
    (project / "more.jsonl").write_text(json.dumps({"id": "m", "question": "A?", "assert": [schema("gone.json")]}))
    (found,) = problems(project, [], settings="datasets: { more: { path: more.jsonl } }\n")
    assert found.startswith("more.jsonl:1: assert[0].file: gone.json: cannot be read")


SETTINGS = """\
judges:
  strict: { kind: llm, model: m, rubric: gone.md, anchors: gone.jsonl }
datasets:
  more: { path: evals/cases.jsonl, expectations: suite.json }
evals:
  judge: strict
  metrics: ["python:no_such_module:f"]
  target: { python: "good_checks:gone" }
  smoke: smoke.yaml
gates:
  - { metric: "python:no_such_module:g", min: 0.5 }
"""


NO_TYPE = "expectation 1 has no type such as expect_column_values_to_not_be_null"


def test_what_settings_name_is_found_with_its_key(project):
    (project / "suite.json").write_text('{"expectations": [{"type": "unique"}]}')
    (project / "smoke.yaml").write_text("- { name: a, kind: contains, prompt: Hi }\n")

    found = problems(project, [], settings=SETTINGS)

    assert [line.partition(" cannot be")[0].partition(": No such")[0] for line in found] == [
        "shipway.yaml:14: gates[0].metric: function 'no_such_module:g'",
        "shipway.yaml:10: evals.metrics[0]: function 'no_such_module:f'",
        f"shipway.yaml:7: datasets.more.expectations: suite.json: {NO_TYPE}",
        "shipway.yaml:5: judges.strict.rubric: gone.md:",
        "shipway.yaml:5: judges.strict.anchors: gone.jsonl:",
        "shipway.yaml:12: evals.smoke: smoke.yaml:1: contains: a text is needed that the answer must hold",
        found[-1],
    ]
    assert found[-1].startswith("shipway.yaml:11: evals.target.python: function 'good_checks:gone' is not there")


def test_anchors_of_a_judge_that_nobody_asks_may_still_have_to_be_written(project):
    judges = "judges: { strict: { kind: llm, model: m, anchors: gone.jsonl } }\n"
    assert problems(project, [], settings=judges) == []


def test_a_log_that_is_none_is_found_with_its_lines(project):
    settings = "evals: { target: { log: answers.jsonl } }\n"
    (missing,) = problems(project, [], settings=settings)
    assert "evals.target.log: log answers.jsonl: there is no such file" in missing
    (project / "answers.jsonl").write_text('{"answer": "x"}\n')
    (found,) = problems(project, [], settings=settings)
    assert found.startswith("answers.jsonl:1: names no case")
