"""What is written: the result, the figures, the limits as tests."""

import json
from xml.etree import ElementTree as ET

import pytest
from tests.unit.load.made import sample

from shipway.core.errors import StoreError
from shipway.core.verdicts import Verdict
from shipway.load.judging import Check
from shipway.load.plan import Kind
from shipway.load.report import LoadReport
from shipway.load.summary import figures
from shipway.services.load.results import findings, write_results

pytestmark = pytest.mark.anyio

CHECKS = (
    Check("p99_ms", 100.0, Verdict.FAIL, 200.0, 150.0, 250.0),
    Check("error_rate", 0.01, Verdict.INCONCLUSIVE, 0.0, 0.0, 0.02, "a longer test narrows it"),
)
REPORT = LoadReport("http://127.0.0.1:1", Kind.RATE, figures([sample()], 1.0, 0.95), CHECKS, problems=("was late",))


async def test_result_figures_and_tests_are_written(tmp_path):
    await write_results(REPORT, out=tmp_path / "r.json", figures=tmp_path / "m.json", junit=tmp_path / "j.xml")

    assert json.loads((tmp_path / "r.json").read_text())["verdict"] == "ERROR"
    assert json.loads((tmp_path / "m.json").read_text())["requests"] == 1
    suite = ET.fromstring((tmp_path / "j.xml").read_text())[0]  # noqa: S314 - written above
    assert [suite.get(name) for name in ("tests", "failures", "skipped", "errors")] == ["3", "1", "1", "1"]


async def test_nothing_is_written_where_nothing_is_wanted(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    await write_results(REPORT)

    assert list(tmp_path.iterdir()) == []


async def test_a_file_that_cannot_be_written_is_named(tmp_path):
    with pytest.raises(StoreError, match="none"):
        await write_results(REPORT, out=tmp_path / "none" / "r.json")


async def test_a_limit_is_a_finding_with_its_figure():
    first = findings(REPORT).findings[0]

    assert (first.name, first.verdict, first.score) == ("p99_ms", Verdict.FAIL, 200.0)
    assert first.message == "200.0 ms, limit 100.0 ms"
