"""Gates may stand in files of their own, and a problem in one is reported with that file's line."""

from pathlib import Path

import pytest

from shipway.config.gate_includes import expand_gates
from shipway.config.sections.gates import Gate
from shipway.config.yaml_source import parse_yaml
from shipway.core.errors import ConfigError

PROJECT = """\
app: a
gates:
  - {metric: correct, min: 0.5}
  - {include: gates/rag.yaml}
  - metric: mrr
    min: 0.2
"""
RAG = """\
# What every rag app shows.
gates:
  - {metric: supported, min: 0.6}
  - metric: correct
    non_regression: auto
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "gates").mkdir()
    (tmp_path / "gates" / "rag.yaml").write_text(RAG)
    return tmp_path


def expanded(text: str, root: Path | None):
    file = parse_yaml(text, "shipway.yaml")
    expand_gates(file.data, file.places, root)
    return file


def refused(text: str, root: Path) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        expanded(text, root)
    return caught.value.problems


def test_the_gates_of_a_file_stand_where_it_is_included(root):
    file = expanded(PROJECT, root)
    assert [gate["metric"] for gate in file.data["gates"]] == ["correct", "supported", "correct", "mrr"]
    assert [Gate.model_validate(gate).metric for gate in file.data["gates"]][1] == "supported"


def test_every_gate_keeps_the_line_of_the_file_it_is_in(root):
    places = expanded(PROJECT, root).places
    assert [str(places["gates", index, "metric"]) for index in range(4)] == [
        "shipway.yaml:3",
        "gates/rag.yaml:3",
        "gates/rag.yaml:4",
        "shipway.yaml:5",
    ]
    assert str(places["gates", 2, "non_regression"]) == "gates/rag.yaml:5"
    assert ("gates", 4) not in places


def test_a_project_without_an_include_is_left_as_it_is(root):
    before = parse_yaml("gates: [{metric: mrr, min: 1}]\n", "shipway.yaml")
    assert expanded("gates: [{metric: mrr, min: 1}]\n", root) == before
    assert expanded("app: a\n", root).data == {"app": "a"}
    assert expanded("gates: 3\n", root).data == {"gates": 3}


def test_a_process_that_judges_nothing_does_not_depend_on_included_files():
    file = expanded(PROJECT, None)
    assert [gate["metric"] for gate in file.data["gates"]] == ["correct", "mrr"]
    assert str(file.places["gates", 1, "min"]) == "shipway.yaml:6"


@pytest.mark.parametrize(
    ("include", "said"),
    [
        ("{include: gates/none.yaml}", "shipway.yaml:2: gates[0]: include: gates/none.yaml: no such file"),
        ("{include: ../gates.yaml}", "shipway.yaml:2: gates[0]: include: '../gates.yaml' is outside the project's"),
        ("{include: /etc/passwd}", "shipway.yaml:2: gates[0]: include: '/etc/passwd' is outside the project's folder"),
        ("{include: 3}", "shipway.yaml:2: gates[0]: include: must be the path of a file, not 3"),
        ("{include: gates/rag.yaml, alpha: 0.1}", "shipway.yaml:2: gates[0]: include stands alone; move alpha into"),
        ("{include: gates}", "shipway.yaml:2: gates[0]: gates: cannot be read: Is a directory"),
    ],
)
def test_an_include_that_cannot_be_read_is_said_with_its_line(root, include, said):
    (problem,) = refused(f"gates:\n  - {include}\n", root)
    assert problem.startswith(said)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("- {metric: mrr, min: 1}\n", "gates/x.yaml:1: the top level is not a mapping of sections"),
        (
            "metrics: []\n",
            "gates/x.yaml: an included file holds a list `gates:` and nothing else; this one has 'metrics'",
        ),
        ("gates: all\n", "an included file holds a list `gates:` and nothing else; this one has none"),
        ("gates: [{include: gates/rag.yaml}]\n", "gates/x.yaml:1: gates[0]: an included file cannot include another"),
        ("gates: [\n", "gates/x.yaml:2: not valid YAML"),
        ("\xff\n", "is not UTF-8"),
    ],
)
def test_an_included_file_that_is_wrong_is_said_with_both_lines(root, content, said):
    (root / "gates" / "x.yaml").write_bytes(content.encode("latin-1"))
    (problem,) = refused("app: a\ngates:\n  - {include: gates/x.yaml}\n", root)
    assert problem.startswith("shipway.yaml:3: gates[0]: ")
    assert said in problem


def test_a_link_out_of_the_project_is_refused(root, tmp_path_factory):
    outside = tmp_path_factory.mktemp("outside") / "g.yaml"
    outside.write_text(RAG)
    (root / "gates" / "link.yaml").symlink_to(outside)
    (problem,) = refused("gates: [{include: gates/link.yaml}]\n", root)
    assert "is outside the project's folder" in problem


@pytest.mark.parametrize(
    ("gate", "message"),
    [
        ({"include": "a.yaml"}, "read from the project file alone"),
        ({"min": 0.5}, "metric is missing"),
        ({"metric": "mrr", "model_update": True}, "remove metric"),
        ({"metric": "mrr", "min": 0.5, "model_update": True}, "give exactly one of"),
        ({"metric": "mrr", "non_regression": "auto", "mode": "relative"}, "mode relative needs a number"),
        ({"metric": "mrr", "min": 0.5, "mode": "relative"}, "mode relative needs a number"),
    ],
)
def test_a_gate_that_contradicts_itself_is_refused(gate, message):
    with pytest.raises(ValueError, match=message):
        Gate.model_validate(gate)


def test_a_relative_gate_and_a_model_update_are_gates():
    assert Gate.model_validate({"metric": "latency_ms", "non_regression": 0.1, "mode": "relative"}).mode == "relative"
    assert Gate.model_validate({"model_update": True, "alpha": 0.01}).metric == ""
