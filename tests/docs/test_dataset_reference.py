"""The pages on datasets say what the code does."""

import json
from pathlib import Path

import pytest

from shipway.evals.data_checks import RULES
from shipway.evals.dataset import FORMATS, dataset_schema

ROOT = Path(__file__).parents[2]


def test_the_published_schema_is_that_of_the_code():
    published = json.loads((ROOT / "docs" / "reference" / "dataset.schema.json").read_text())

    assert published == dataset_schema()


@pytest.mark.parametrize("rule", [rule for rule in RULES if rule != "schema"])
def test_a_rule_is_documented(page, rule):
    assert f"`dataset/{rule}`" in page("docs/reference/dataset.md").text


@pytest.mark.parametrize("name", set(FORMATS) - {"jsonl", "yaml", "csv"})
def test_a_format_of_another_tool_is_documented(page, name):
    assert f"--from {name} " in page("docs/how-to/check-datasets.md").text
