"""The best of several variants is named when it is shown, and not because it is highest."""

import numpy as np
import pytest
from scipy import stats

from shipway.core.errors import UsageError
from shipway.evals.matrix import Ranking, rank
from shipway.evals.metrics import METRICS
from shipway.evals.model import Case, Dataset
from shipway.evals.scores import ScoreTable

CORRECT, LATENCY = METRICS["correct"], METRICS["latency_ms"]
FAST = Ranking(permutations=499)


def dataset_of(n, *, per_document=1, tags=()):
    cases = tuple(
        Case(f"c{i:03}", f"Q{i}?", must_contain=("x",), expected_sources=(f"d{i // per_document}",), tags=tags)
        for i in range(n)
    )
    return Dataset("d", cases)


def table_of(dataset, scores, metric="correct", reasons=None):
    """Return the table of (n_cases, repeats) scores, of which those in `reasons` are missing."""
    values = np.asarray(scores, dtype=float).reshape(len(dataset.cases), -1)
    missing = np.zeros(values.shape, dtype=bool)
    for place in reasons or {}:
        missing[place] = True
    ids = tuple(case.id for case in dataset.cases)
    return ScoreTable(
        ids, values.shape[1], {metric: np.where(missing, np.nan, values)}, {metric: missing}, {metric: reasons or {}}
    )


def flips(n, share, seed=0):
    return (np.random.default_rng(seed).random(n) < share).astype(float)


def place_of(found, name):
    (standing,) = (one for one in found.standings if one.name == name)
    return standing.place


def test_one_that_beats_every_other_is_the_best():
    dataset = dataset_of(80)
    found = rank(
        dataset,
        {
            "a": table_of(dataset, flips(80, 0.4)),
            "b": table_of(dataset, flips(80, 0.95, 1)),
            "c": table_of(dataset, flips(80, 0.5, 2)),
        },
        CORRECT,
    )

    assert (found.best, found.leading, found.contenders) == ("b", "b", ("b",))
    assert [one.place for one in found.standings] == ["best", "worse", "worse"]
    assert found.sentences[0] == "b is the best by correct: it beats all 2 others on 80 cases in 80 clusters"
    worst = found.standings[-1]
    assert worst.difference < worst.difference_interval[1] < 0
    assert worst.p_value <= 0.05


def test_the_highest_of_what_cannot_be_told_apart_is_not_the_best():
    dataset = dataset_of(60)
    scores = flips(60, 0.7)
    nearly = scores.copy()
    nearly[np.flatnonzero(scores)[:2]] = 0
    found = rank(
        dataset,
        {
            "low": table_of(dataset, flips(60, 0.1, 3)),
            "nearly": table_of(dataset, nearly),
            "top": table_of(dataset, scores),
        },
        CORRECT,
    )

    assert (found.best, found.leading, found.contenders) == (None, "top", ("top", "nearly"))
    assert place_of(found, "low") == "worse"
    assert found.sentences[0].startswith("no best by correct: top leads, but nearly cannot be told from it on 60 cases")
    low, high = found.standings[1].difference_interval
    assert low < 0 <= high


def test_the_best_beats_every_other_and_not_only_the_second():
    dataset = dataset_of(60)
    first = np.linspace(100, 160, 60)
    jumps = np.where(np.arange(60) % 2 == 0, 130.0, -120.0)

    found = rank(
        dataset,
        {
            "first": table_of(dataset, first, "latency_ms"),
            "second": table_of(dataset, first + np.linspace(1, 2, 60), "latency_ms"),
            "noisy": table_of(dataset, first + jumps, "latency_ms"),
        },
        LATENCY,
    )

    assert [(one.name, one.place) for one in found.standings] == [
        ("first", "not distinguishable"),
        ("second", "worse"),
        ("noisy", "not distinguishable"),
    ]
    assert found.best is None


def test_twenty_equal_variants_have_no_best():
    rng, runs, named, apart = np.random.default_rng(5), 120, 0, 0
    dataset = dataset_of(60, per_document=2)
    for run in range(runs):
        own = np.repeat(rng.beta(4, 2, size=30), 2)
        tables = {f"v{i:02}": table_of(dataset, rng.random(60) < own) for i in range(20)}
        found = rank(dataset, tables, CORRECT, Ranking(seed=run, permutations=499))
        named += found.best is not None
        apart += len(found.contenders) < 20

    # Nominal 5 %, and Monte-Carlo error: more has a probability of 1 % at that rate. Highest they are all the same.
    assert named <= stats.binom.ppf(0.99, runs, 0.05)
    assert apart <= stats.binom.ppf(0.99, runs, 0.05)


def test_a_truly_better_one_among_twenty_is_found_four_times_in_five():
    rng, runs, named = np.random.default_rng(6), 25, 0
    dataset = dataset_of(200)
    for run in range(runs):
        own = rng.beta(4, 8 / 3, size=200)
        tables = {f"v{i:02}": table_of(dataset, rng.random(200) < own) for i in range(19)}
        tables["better"] = table_of(dataset, (rng.random(200) < own) | (rng.random(200) < 0.6))
        named += rank(dataset, tables, CORRECT, Ranking(seed=run, permutations=499)).best == "better"

    assert named >= 0.8 * runs


def test_what_the_choice_adds_is_told_from_what_the_variant_is_worth():
    rng = np.random.default_rng(8)
    dataset = dataset_of(40)
    tables = {f"v{i:02}": table_of(dataset, rng.random(40) < 0.6) for i in range(20)}

    found = rank(dataset, tables, CORRECT, FAST)

    assert found.held_out < found.standings[0].mean
    assert found.held_out == pytest.approx(0.6, abs=0.1)
    assert found.sentences[-1].endswith("on the other; the choice flatters it")


def test_less_is_better_where_the_metric_says_so():
    dataset = dataset_of(30)
    slow, fast = np.linspace(200, 300, 30), np.linspace(100, 120, 30)

    found = rank(
        dataset,
        {"slow": table_of(dataset, slow, "latency_ms"), "fast": table_of(dataset, fast, "latency_ms")},
        LATENCY,
    )

    assert found.best == "fast"
    assert found.standings[1].difference == pytest.approx(-140.0)
    assert found.held_out == pytest.approx(110.0, abs=2)


def test_cases_of_one_document_count_as_one():
    dataset = dataset_of(60, per_document=30)
    better, worse = np.ones(60), np.zeros(60)

    found = rank(dataset, {"a": table_of(dataset, better), "b": table_of(dataset, worse)}, CORRECT)

    assert (found.best, found.n, found.n_clusters) == (None, 60, 2)
    assert found.sentences[1] == "2 clusters are too few to tell any two apart; add cases from other documents"
    assert found.standings[1].difference_interval == (-1.0, 1.0)


def test_repeats_are_no_new_cases():
    dataset = dataset_of(4)
    once = rank(dataset, {"a": table_of(dataset, np.ones(4)), "b": table_of(dataset, np.zeros(4))}, CORRECT)
    often = rank(
        dataset, {"a": table_of(dataset, np.ones((4, 50))), "b": table_of(dataset, np.zeros((4, 50)))}, CORRECT
    )

    assert once.standings == often.standings
    assert once.best is None


def test_a_variant_that_could_not_be_measured_is_an_error_and_the_others_are_ranked():
    dataset = dataset_of(30)
    down = {(row, 0): "UnavailableError: nobody there" for row in range(15)}
    tables = {
        "down": table_of(dataset, np.ones(30), reasons=down),
        "good": table_of(dataset, np.ones(30)),
        "bad": table_of(dataset, np.zeros(30)),
    }

    found = rank(dataset, tables, CORRECT)

    assert found.best == "good"
    assert (found.standings[-1].name, found.standings[-1].place) == ("down", "error")
    assert "15 of 30 scores are missing; first: c000: UnavailableError: nobody there" in found.standings[-1].note


def test_only_cases_that_every_variant_has_a_score_for_are_compared():
    dataset = dataset_of(30)
    some = np.ones(30)
    some[:10] = np.nan

    found = rank(dataset, {"a": table_of(dataset, some), "b": table_of(dataset, np.ones(30))}, CORRECT)

    assert (found.n, found.left_out) == (20, 10)


def test_nothing_in_common_is_no_ranking():
    dataset = dataset_of(4)
    first, second = np.array([1, 1, np.nan, np.nan]), np.array([np.nan, np.nan, 1, 1])

    found = rank(dataset, {"a": table_of(dataset, first), "b": table_of(dataset, second)}, CORRECT)

    assert (found.best, found.leading) == (None, None)
    assert {one.note for one in found.standings} == {"no case has a score of every variant"}


def test_equal_variants_have_an_interval_that_is_not_nothing():
    dataset = dataset_of(20)

    found = rank(dataset, {"a": table_of(dataset, np.ones(20)), "b": table_of(dataset, np.ones(20))}, CORRECT)

    low, high = found.standings[1].difference_interval
    assert low == pytest.approx(-(1 - 0.05 ** (1 / 20)))
    assert found.standings[0].interval[0] < 1.0
    assert found.best is None
    assert high == -low


def test_variants_that_differ_by_the_same_in_every_case_have_an_interval_that_is_not_nothing():
    dataset = dataset_of(60)

    found = rank(dataset, {"a": table_of(dataset, np.ones(60)), "b": table_of(dataset, np.zeros(60))}, CORRECT)

    assert found.best == "a"
    assert found.standings[1].difference_interval == pytest.approx((-1.0, -(0.05 ** (1 / 60))))


def test_one_variant_is_compared_with_nothing():
    dataset = dataset_of(20)

    found = rank(dataset, {"a": table_of(dataset, np.ones(20))}, CORRECT)

    assert (found.best, found.leading, found.held_out) == (None, "a", None)
    assert found.sentences == ("one variant on 20 cases in 20 clusters: there is nothing to compare it with",)


def test_only_the_cases_with_the_tags_are_ranked():
    dataset = Dataset("d", (*dataset_of(10, tags=("hard",)).cases, Case("x", "Q", must_contain=("x",))))
    tables = {"a": table_of(dataset, np.ones(11)), "b": table_of(dataset, np.zeros(11))}

    assert rank(dataset, tables, CORRECT, Ranking(tags=("hard",))).n == 10


def test_variants_of_other_cases_are_refused():
    dataset = dataset_of(3)

    with pytest.raises(UsageError, match="'b' was asked other cases"):
        rank(dataset, {"a": table_of(dataset, np.ones(3)), "b": table_of(dataset_of(2), np.ones(2))}, CORRECT)
    with pytest.raises(UsageError, match="nothing to rank"):
        rank(dataset, {}, CORRECT)
