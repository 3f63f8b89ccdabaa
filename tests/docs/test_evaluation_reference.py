"""The pages on metrics and assertions name all that the code knows, with its direction and its keys."""

import json
import re

import pytest

from shipway.core.personal_data import PII_KINDS
from shipway.evals.assertion_types import TYPES
from shipway.evals.assertions import parse_assertions
from shipway.evals.generation import JUDGED
from shipway.evals.metric_names import resolve_metrics

_ASSERTIONS = "docs/reference/assertions.md"
_BY_NAME = "docs/reference/evaluation-metrics.md"
_EXAMPLES = {"K": "2", "METRIC": "correct", "NAME": "x"}


def rows_of(text):
    return [re.split(r" (?<!\\)\| ", line.strip("| ")) for line in text.splitlines() if line.startswith("| `")]


@pytest.mark.parametrize("name", TYPES)
def test_an_assertion_is_documented_with_its_keys(page, name):
    (row,) = [row for row in rows_of(page(_ASSERTIONS).text) if f"`{name}`" in row[0]]

    assert [key for key in TYPES[name].keys if f"`{key}`" not in row[1]] == []


@pytest.mark.parametrize("kind", PII_KINDS)
def test_a_kind_of_personal_data_is_documented(page, kind):
    assert f"`{kind}`" in page(_ASSERTIONS).text


def test_every_metric_by_name_resolves_and_has_the_direction_that_is_documented(page):
    rows = rows_of(page(_BY_NAME).text)

    assert len(rows) > 15
    for row in rows:
        name = row[0].strip("`")
        for variable, value in _EXAMPLES.items():
            name = re.sub(rf"(?<![A-Z]){variable}(?![A-Z])", value, name)
        metric = resolve_metrics([name], has_judge=True)[name]
        assert (name, metric.direction) == (name, row[-1])


@pytest.mark.parametrize("name", [*JUDGED, "determinism", "context_recall"])
def test_a_metric_by_name_is_documented(page, name):
    assert any(row[0] == f"`{name}`" for row in rows_of(page(_BY_NAME).text))


def test_the_example_of_assertions_is_read(page):
    (block,) = [block for block in page(_ASSERTIONS).blocks if block.language == "json"]
    entries = re.findall(r'"assert": (\[.+\])\}', block.text)

    assert len(parse_assertions(json.loads(entries[0]))) == 2
