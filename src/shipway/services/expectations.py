"""The optional stage of checking a dataset: a suite of Great Expectations over its cases.

`shipway dataset check --expectations FILE` and a dataset's `expectations` add what it finds to the other checks.
"""

from dataclasses import replace
from pathlib import Path

import anyio

from shipway.core.errors import NotFoundError
from shipway.core.findings import FindingReport
from shipway.evals.model import Dataset
from shipway.evals.tools.ports import ExpectationTool
from shipway.services.datasets import NamedDataset

TIMEOUT_S = 300.0


def suite_of(root: Path, dataset: NamedDataset, given: str = "") -> Path | None:
    """Return the suite that a dataset has to hold: the one that is given, else the one of its settings."""
    if given:
        return Path(given)
    named = dataset.entry.expectations if dataset.entry else None
    return None if named is None else root / named


async def with_expectations(
    report: FindingReport, tool: ExpectationTool, dataset: Dataset, suite: Path, *, timeout_s: float = TIMEOUT_S
) -> FindingReport:
    """Return a report of dataset checks with the findings of a suite after its own.

    Raises:
        NotFoundError: there is no such suite, or Great Expectations is not installed.
        DocumentError: the file is no suite.
    """
    try:
        data = await anyio.Path(suite).read_bytes()
    except OSError as error:
        raise NotFoundError(
            f"{suite}: {error.strerror or error}", hint="give a suite as Great Expectations saves it, a JSON file"
        ) from error
    found = await tool.validate(dataset.cases, data, str(suite), timeout_s)
    return replace(report, findings=(*report.findings, *found.findings), problems=(*report.problems, *found.problems))
