from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import pytest

from shipway.config.sections.datasets import DatasetEntry
from shipway.core.errors import NotFoundError
from shipway.core.findings import Finding, FindingReport
from shipway.core.verdicts import Verdict
from shipway.evals.model import Case, Dataset
from shipway.services.datasets import NamedDataset
from shipway.services.expectations import suite_of, with_expectations

pytestmark = pytest.mark.anyio
DATASET = Dataset("faq", (Case("a", "A?"),))
OWN = FindingReport("dataset", "", (Finding("dataset", "own", Verdict.PASS),))


@dataclass
class Tool:
    """Finds one thing wrong."""

    asked: list = field(default_factory=list)

    async def validate(self, cases, suite, file, timeout_s):
        self.asked.append((cases, suite, file))
        return FindingReport("dataset", "1", (Finding("dataset", "foreign", Verdict.FAIL, message="no"),), ("late",))


async def test_what_a_suite_finds_stands_after_what_the_checks_found(tmp_path):
    (tmp_path / "suite.json").write_bytes(b"{}")

    tool = Tool()
    found = await with_expectations(OWN, tool, DATASET, tmp_path / "suite.json")
    assert [item.name for item in found.findings] == ["own", "foreign"]
    assert (found.problems, found.verdict) == (("late",), Verdict.ERROR)
    assert tool.asked == [(DATASET.cases, b"{}", str(tmp_path / "suite.json"))]


async def test_a_suite_that_is_not_there_is_named(tmp_path):
    with pytest.raises(NotFoundError, match=r"none\.json: No such file"):
        await with_expectations(OWN, Tool(), DATASET, tmp_path / "none.json")


async def test_a_suite_that_is_given_goes_before_the_one_of_the_settings(tmp_path):
    entry = DatasetEntry(path="faq.jsonl", expectations="suites/faq.json")
    named = NamedDataset("faq", cast("Any", None), entry)
    assert suite_of(tmp_path, named) == tmp_path / "suites" / "faq.json"
    assert suite_of(tmp_path, named, "own.json") == Path("own.json")
    assert suite_of(tmp_path, NamedDataset("faq", cast("Any", None))) is None
