"""Whatever stands in another tool's file, it becomes cases or problems with a line."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shipway.core.errors import DatasetError, UsageError
from shipway.evals.dataset import read_dataset
from shipway.evals.rows import FileForm

KEYS = {
    "promptfoo": [
        "tests",
        "vars",
        "assert",
        "type",
        "value",
        "question",
        "defaultTest",
        "scenarios",
        "config",
        "prompts",
        "metadata",
        "id",
        "threshold",
        "$ref",
        "assertionTemplates",
        "weight",
        "context",
        "description",
    ],
    "ragas": [
        "user_input",
        "question",
        "retrieved_contexts",
        "reference",
        "ground_truths",
        "type",
        "content",
        "id",
        "response",
        "synthesizer_name",
        "reference_context_ids",
        "rubrics",
    ],
    "inspect": ["input", "target", "choices", "id", "metadata", "role", "content", "type", "text", "files"],
}
WORDS = [
    "file://x.csv",
    "contains",
    "llm-rubric",
    "assert-set",
    "human",
    "user",
    "text",
    "#/assertionTemplates/tests",
    "",
]


def values(form):
    leaf = st.none() | st.booleans() | st.integers(-2, 2) | st.floats() | st.sampled_from(WORDS) | st.text(max_size=4)
    return st.recursive(
        leaf,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS[form]), inner, max_size=4),
        max_leaves=14,
    )


def outcome(data, file, form):
    def neighbours(name):
        if name != "x.csv":
            raise UsageError(f"{name!r} leads out of the folder")
        return name, "question,__expected\nq,contains: x\n"

    try:
        found = read_dataset(data, file, form=FileForm(format=form), neighbours=neighbours)
    except DatasetError as error:
        return error.problems
    assert found.dataset.digest
    return []


@pytest.mark.parametrize("form", KEYS)
@given(data=st.data())
def test_any_structure_is_read_or_refused_with_its_line(form, data):
    value = data.draw(values(form) | st.lists(values(form), max_size=3))
    for file in ("f.yaml", "f.json", "f.jsonl"):
        problems = outcome(json.dumps(value).encode(), file, form)
        assert all(problem.startswith(f"{file}:") for problem in problems)


@pytest.mark.parametrize("form", KEYS)
@given(data=st.binary(max_size=60), suffix=st.sampled_from(["yaml", "json", "jsonl", "csv"]))
def test_any_bytes_are_read_or_refused_with_their_line(form, data, suffix):
    assert all(problem.startswith(f"f.{suffix}:") for problem in outcome(data, f"f.{suffix}", form))


@pytest.mark.parametrize("form", KEYS)
@pytest.mark.parametrize("suffix", ["yaml", "json", "jsonl", "csv"])
def test_what_nests_too_deeply_is_refused(form, suffix):
    (problem, *_) = outcome(b"[" * 100_000, f"f.{suffix}", form)
    assert problem.startswith(f"f.{suffix}:1: ")
