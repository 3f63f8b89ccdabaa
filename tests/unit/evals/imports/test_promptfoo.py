"""promptfoo's files become cases; what has no counterpart is said."""

import pytest

from shipway.core.errors import DatasetError, UsageError
from shipway.evals.dataset import read_dataset
from shipway.evals.imports.promptfoo_assertions import UntranslatableError, from_cell, translated
from shipway.evals.rows import FileForm

CONFIG = """\
description: Help desk
prompts: ["Answer briefly: {{question}}"]
providers: [openai:gpt-4o-mini]
assertionTemplates:
  noApology: {type: not-icontains, value: sorry}
defaultTest:
  vars: {language: English}
  assert:
    - {type: latency, threshold: 2000}
tests:
  - description: window
    vars: {question: "How long for {{x}}?", days: 45}
    metadata: {id: return-window, owner: ops}
    assert:
      - {type: contains, value: "{{days}} days"}
      - $ref: "#/assertionTemplates/noApology"
      - {type: javascript, value: output.length < 10}
      - {type: answer-relevance, threshold: 0.8}
    options: {provider: openai:gpt-4o}
  - vars:
      question: ["Hello?", "Good day?"]
      context: A passage.
    assert:
      - {type: contains-any, value: "hi, hello"}
"""
PROMPT_LEFT = (
    "promptfooconfig.yaml: prompts: the words around the question are not in the cases; put them into a prompt file"
    " of the project"
)
CSV = """\
question,__expected,__expected2,__description,__metadata:tier,__prefix
How much?,contains: 4.90,not-contains: 6.50,price,gold,Dear
Who?,Leiden,,,,
When?,similar(0.9): soon,,,,
"""


def imported(text, file="promptfooconfig.yaml", **files):
    def neighbours(name):
        if name not in files:
            raise UsageError(f"{name!r} leads out of the folder")
        return name, files[name]

    return read_dataset(text.encode(), file, form=FileForm(format="promptfoo"), neighbours=neighbours)


def problems_of(text, file="promptfooconfig.yaml", **files):
    with pytest.raises(DatasetError) as caught:
        imported(text, file, **files)
    return caught.value.problems


def test_a_test_becomes_a_case_with_what_it_inherits():
    found = imported(CONFIG)
    first, second, third = found.dataset.cases
    assert (first.id, first.question) == ("return-window", "How long for {{x}}?")
    assert first.variables == {"language": "English", "question": "How long for {{x}}?", "days": 45}
    assert first.assertions == (
        {"type": "latency", "max": 2000},
        {"type": "contains", "value": "45 days"},
        {"type": "not-icontains", "value": "sorry"},
    )
    assert first.metadata == {
        "id": "return-window",
        "owner": "ops",
        "description": "window",
        "origin": "promptfooconfig.yaml:11",
    }
    assert [second.question, third.question] == ["Hello?", "Good day?"]
    assert (second.id, second.context) == ("promptfoo-0002-1", ("A passage.",))
    assert found.place("promptfoo-0002-2") == "promptfooconfig.yaml:20"


def test_what_has_no_counterpart_is_listed_with_its_place():
    assert imported(CONFIG).dropped == (
        "promptfooconfig.yaml: providers: belong to the target and the run, not to the cases",
        "promptfooconfig.yaml:11: options: belongs to the run, not to the case",
        "promptfooconfig.yaml:11: assert javascript: is code; run it with promptfoo",
        "promptfooconfig.yaml:11: assert answer-relevance: is a metric here: write a gate on `answer_relevance`",
        "promptfooconfig.yaml:20: assert contains-any: ignores case here",
        "promptfooconfig.yaml:20: assert contains-any: ignores case here",
        PROMPT_LEFT,
    )


def test_a_csv_of_variables_is_read_with_its_expectations():
    found = imported(CSV, "tests.csv")
    price, who, _ = found.dataset.cases
    assert price.assertions == ({"type": "contains", "value": "4.90"}, {"type": "not-contains", "value": "6.50"})
    assert (price.metadata["tier"], price.metadata["description"]) == ("gold", "price")
    assert who.assertions == ({"type": "equals", "value": "Leiden"},)
    assert "tests.csv:2: __prefix: belongs to the run, not to the case" in found.dropped


def test_tests_in_other_files_are_followed_and_keep_their_place():
    found = imported("tests:\n  - file://a.csv\n  - b.yaml\n", **{"a.csv": CSV, "b.yaml": '- vars: {query: "Why?"}\n'})
    assert [case.question for case in found.dataset.cases] == ["How much?", "Who?", "When?", "Why?"]
    assert found.dataset.cases[3].metadata["origin"] == "b.yaml:1"
    assert imported("tests: file://a.csv\n", **{"a.csv": CSV}).dataset.digest


def test_a_file_outside_the_folder_is_refused_with_the_line_that_names_it():
    assert problems_of("tests:\n  - file://../secrets.csv\n") == [
        "promptfooconfig.yaml:2: tests: '../secrets.csv' leads out of the folder"
    ]
    assert "leads out" in problems_of("tests:\n  - vars: {question: file:///etc/passwd}\n")[0]


def test_variables_in_files_are_read():
    found = imported(
        "tests:\n  - vars: {question: file://q.txt, doc: file://d.yaml}\n", **{"q.txt": "Why?\n", "d.yaml": "{a: 1}"}
    )
    assert found.dataset.cases[0].question == "Why?"
    assert found.dataset.cases[0].variables["doc"] == {"a": 1}


def test_a_test_without_a_question_takes_the_only_prompt():
    text = 'prompts: ["Translate {{word}} into {{to}}."]\ntests: [{vars: {word: tree, to: German}}]\n'
    assert imported(text).dataset.cases[0].question == "Translate tree into German."


def test_a_test_whose_question_nobody_can_tell_is_refused():
    (problem,) = problems_of("prompts: [file://p.txt, other]\ntests:\n  - vars: {word: tree, to: German}\n")
    assert problem == (
        "promptfooconfig.yaml:3: vars: no variable is the question (it has to, word); name the one that is `question`"
    )


def test_scenarios_are_every_pair_of_configuration_and_test():
    text = "scenarios:\n  - config: [{vars: {to: German}}, {vars: {to: Dutch}}]\n"
    text += '    tests: [{vars: {question: "Tree?"}}]\n'
    assert [case.variables["to"] for case in imported(text).dataset.cases] == ["German", "Dutch"]


def test_lists_that_explode_are_refused():
    many = str([f"v{number}" for number in range(40)])
    text = f"tests:\n  - vars: {{question: {many}, b: {many}}}\n"
    assert "make 1001 cases of one test; at most 1000" in problems_of(text)[0]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("just words", "promptfooconfig.yaml:1: expected a promptfoo configuration or a list of tests"),
        ("tests: [5, [x]]", "promptfooconfig.yaml:1: tests: '5' leads out of the folder"),
        ("tests:\n  - vars: [x]\n", "promptfooconfig.yaml:2: vars: expected an object, got list"),
        ("tests:\n  - vars: {a: !x y}\n", "promptfooconfig.yaml:2: not YAML: "),
        ("tests: [\n", "promptfooconfig.yaml:2: not YAML: "),
        ("tests: []\n", "promptfooconfig.yaml:1: no cases; write at least one"),
    ],
)
def test_a_broken_file_is_refused_with_its_line(text, problem):
    assert problems_of(text)[0].startswith(problem)


@pytest.mark.parametrize(
    ("entry", "ours"),
    [
        ({"type": "equals", "value": 5}, {"type": "equals", "value": "5"}),
        ({"type": "icontains-any", "value": ["a", "b"]}, {"type": "contains-any", "value": ["a", "b"]}),
        ({"type": "icontains-all", "value": "a, b"}, {"type": "contains-all", "value": ["a", "b"]}),
        ({"type": "not-regex", "value": "a+"}, {"type": "not-regex", "value": "a+"}),
        ({"type": "is-json"}, {"type": "is-json"}),
        ({"type": "is-refusal"}, {"type": "refusal"}),
        ({"type": "cost", "threshold": 0.01}, {"type": "cost", "max": 0.01}),
    ],
)
def test_an_assertion_has_its_counterpart(entry, ours):
    assert translated(entry, {})[0] == ours


@pytest.mark.parametrize(
    ("entry", "reason"),
    [
        ({"type": "context-faithfulness"}, "write a gate on `faithfulness`"),
        ({"type": "python", "value": "file://x.py"}, "file"),
        ({"type": "rouge-n", "value": "x"}, "has no counterpart"),
        ({"type": "contains", "value": "{{missing | upper}}"}, "a template that cannot be filled"),
        ({"type": "contains", "value": "x", "weight": 0}, "weight 0"),
        ({"type": "contains", "value": "x", "transform": "output.trim()"}, "`transform` is code"),
        ({"type": "regex", "value": "(?<js>x)"}, "not a regular expression"),
        ("contains", "no object with a type"),
    ],
)
def test_an_assertion_without_counterpart_says_why(entry, reason):
    with pytest.raises(UntranslatableError, match=reason.replace("(", r"\(")):
        translated(entry, {})


@pytest.mark.parametrize(
    ("cell", "entry"),
    [
        ("contains: x: y", {"type": "contains", "value": "x: y"}),
        ("similar(0.8): x", {"type": "similar", "value": "x", "threshold": 0.8}),
        ("is-json", {"type": "is-json"}),
        ("fn: output.x", {"type": "javascript", "value": "output.x"}),
        ("grade: is kind", {"type": "llm-rubric", "value": "is kind"}),
        ("note: this is a text", {"type": "equals", "value": "note: this is a text"}),
        ("45 days", {"type": "equals", "value": "45 days"}),
    ],
)
def test_an_expected_cell_is_an_assertion(cell, entry):
    assert from_cell(cell) == entry


@pytest.mark.parametrize(
    ("prompts", "is_left"),
    [
        ('["You are kind. {{question}}"]', True),
        ('["{{question}}", "Say: {{question}}"]', True),
        ("[file://p.txt]", True),
        ('["{{question}}"]', False),
    ],
)
def test_the_words_of_a_prompt_that_no_case_holds_are_listed(prompts, is_left):
    dropped = imported(f"prompts: {prompts}\ntests: [{{vars: {{question: 'Why?'}}}}]\n").dropped

    assert any("prompts: the words around the question are not in the cases" in line for line in dropped) is is_left
