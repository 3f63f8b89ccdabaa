"""What is promised of evaluations and gates is what the committed results say."""

import json
from pathlib import Path

RESULTS = Path(__file__).parents[3] / "benchmarks" / "results"


def summary(name: str) -> dict[str, float]:
    return json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))["summary"]


def test_the_false_block_rate_is_within_its_nominal_alpha():
    found = summary("gates")
    # The worst of 48 cells of 2,000 decisions: Monte-Carlo error at Bonferroni's level is below 1.7 points.
    assert found["false_block_rate_of_gates"] <= found["false_block_rate"] <= found["nominal_alpha"] + 0.017
    assert found["false_block_lower95"] <= found["nominal_alpha"]
    assert found["naive_false_block_rate"] > found["false_block_rate"]
    assert found["power_10pt_n100"] > 0.3


def test_unchanged_recorded_answers_are_seldom_blocked_and_differ_often_enough():
    found = summary("gates")
    assert found["aa_false_block_rate"] <= found["nominal_alpha"]
    assert found["aa_decisions"] >= 200
    assert found["aa_discordant"] >= 200


def test_the_example_s_gate_lets_the_better_prompt_through_and_the_worse_one_not():
    found = summary("gates")
    assert found["v2_blocked_rate"] <= 0.02
    assert found["v3_passed_rate"] == 0.0


def test_a_case_costs_a_fifth_of_what_the_best_peer_takes_and_many_cases_stay_in_bounded_memory():
    found = summary("evals")
    assert found["cpu_ms_per_case"] <= 2.0
    assert found["cpu_speedup_vs_best_peer"] >= 5.0
    assert found["peak_rss_mb_100k"] <= 500.0
