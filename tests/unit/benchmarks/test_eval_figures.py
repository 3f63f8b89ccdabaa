"""What is promised of evaluations and gates is what the committed results say."""

import json
from pathlib import Path

RESULTS = Path(__file__).parents[3] / "benchmarks" / "results"


def summary(name: str) -> dict[str, float]:
    return json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))["summary"]


def test_a_case_costs_a_fifth_of_what_the_best_peer_takes_and_many_cases_stay_in_bounded_memory():
    found = summary("evals")
    assert found["cpu_ms_per_case"] <= 2.0
    assert found["cpu_speedup_vs_best_peer"] >= 5.0
    assert found["peak_rss_mb_100k"] <= 500.0
