from dataclasses import dataclass, field

from tests.unit.evals.conftest import build_run

from shipway.evals.gate_report import GateReport
from shipway.evals.model import CaseResult
from shipway.evals.report_source import Places, positions, source_of


def test_of_two_results_of_one_case_and_repeat_the_later_counts():
    results = [CaseResult("a", 0, {}), CaseResult("b", 0, {}), CaseResult("a", 0, {})]
    assert positions(results) == {("a", 0): 2, ("b", 0): 1}


def test_a_finished_evaluation_is_a_source_with_its_places():
    @dataclass
    class Finished:
        id: str = "eval_1"
        release: str = "rel_1"
        baseline: str | None = None
        report: GateReport = field(default_factory=lambda: GateReport(()))
        run: object = field(default_factory=lambda: build_run([1.0]))
        baseline_run: object = None
        run_id: str = "run_1"
        cost: dict[str, float] = field(default_factory=lambda: {"usd": 1.0})

    done, places = Finished(), Places({"c0000": "a.jsonl:1"})
    found = source_of(done, places)
    assert (found.id, found.run, found.run_id, found.cost, found.places) == (
        "eval_1",
        done.run,
        "run_1",
        {"usd": 1.0},
        places,
    )
    assert source_of(done).places.project_file == "shipway.yaml"
    assert found.against == "thresholds alone (first release)"
