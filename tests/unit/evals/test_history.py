import math

from shipway.core.canonical import digest_json
from shipway.evals.history import pooled_sd

DATASET, CODE = digest_json("dataset"), digest_json("code")


def stored(at_s, *rows, dataset=DATASET, code=CODE):
    gates = [{"metric": metric, "n": n, "sd": sd} for metric, n, sd in rows]
    return {
        "at_s": at_s,
        "release": "rel_b",
        "baseline": "rel_a",
        "binding": {"dataset": dataset, "metrics": code},
        "report": {"gates": gates},
    }


def test_standard_deviations_are_pooled_by_their_cases():
    found = pooled_sd([stored(1, ("correct", 11, 0.1)), stored(2, ("correct", 31, 0.3))], DATASET, CODE)
    assert found == {"correct": math.sqrt((10 * 0.01 + 30 * 0.09) / 40)}


def test_one_evaluation_is_no_history_and_neither_is_one_without_differences():
    items = [stored(1, ("correct", 11, 0.1), ("mrr", 11, 0.0)), stored(2, ("mrr", 11, 0.0), ("latency_ms", 5, None))]
    assert pooled_sd(items, DATASET, CODE) == {}


def test_releases_compared_with_themselves_are_no_history():
    kept = [stored(1, ("correct", 11, 0.1)), stored(2, ("correct", 11, 0.1))]
    itself = {**stored(3, ("correct", 11, 0.0)), "baseline": "rel_b"}
    assert pooled_sd([*kept, itself], DATASET, CODE) == pooled_sd(kept, DATASET, CODE)


def test_other_cases_or_other_metric_code_are_no_history():
    items = [
        stored(1, ("correct", 11, 0.1)),
        stored(2, ("correct", 11, 0.5), dataset=digest_json("x")),
        stored(3, ("correct", 11, 0.5), code=digest_json("x")),
    ]
    assert pooled_sd(items, DATASET, CODE) == {}


def test_the_ten_newest_count_and_of_several_gates_the_one_with_the_most_cases():
    items = [stored(at_s, ("correct", 5, 9.0), ("correct", 21, 0.2)) for at_s in range(10)]
    found = pooled_sd([stored(-1, ("correct", 1000, 5.0)), *items], DATASET, CODE)
    assert math.isclose(found["correct"], 0.2)


def test_an_evaluation_that_was_stored_before_gates_had_a_deviation_is_left_out():
    old = {
        "at_s": 1,
        "release": "rel_b",
        "baseline": "rel_a",
        "binding": {"dataset": DATASET, "metrics": CODE},
        "report": {"gates": [{"metric": "mrr", "n": 3}]},
    }
    assert pooled_sd([old, old], DATASET, CODE) == {}
