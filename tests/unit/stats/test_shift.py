"""Whether two samples look like draws from one population, and how often that is said wrongly."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom, fisher_exact, ks_2samp

from shipway.stats.paired import holm
from shipway.stats.shift import category_shift, number_shift, vector_shift

SPLITS = 500
PERMUTATIONS = 399


def population(rng, n):
    """Return word counts, languages and unit vectors of n cases of ten topics."""
    centres = np.random.default_rng(1).normal(size=(10, 24))
    vectors = centres[rng.integers(10, size=n)] + rng.normal(size=(n, 24))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return rng.poisson(12, size=n), rng.choice(["en", "de", "nl"], p=[0.9, 0.07, 0.03], size=n), vectors


def adjusted(first, second, rng):
    found = {
        "length": number_shift(first[0], second[0], rng=rng, draws=PERMUTATIONS),
        "language": category_shift(first[1], second[1], rng=rng, draws=PERMUTATIONS),
        "topic": vector_shift(first[2], second[2], rng=rng, permutations=PERMUTATIONS, features=24),
    }
    return holm(found)


def test_equal_splits_are_called_shifted_no_more_often_than_said():
    rng, alarms = np.random.default_rng(7), np.zeros(2)
    for _ in range(SPLITS):
        numbers, words, vectors = population(rng, 50)
        parts = [(numbers[half], words[half], vectors[half]) for half in (slice(25), slice(25, None))]
        least = min(adjusted(*parts, rng).values())
        alarms += [least <= 0.01, least <= 0.1]
    # The most that chance allows at the nominal rate, once in a thousand.
    assert alarms[0] <= binom.ppf(0.999, SPLITS, 0.01)
    assert alarms[1] <= binom.ppf(0.999, SPLITS, 0.1)
    # A test that never alarms would pass as well.
    assert alarms[1] >= 5


@pytest.mark.parametrize("seed", range(5))
def test_longer_questions_another_language_and_another_topic_are_seen(seed):
    rng = np.random.default_rng(seed)
    numbers, words, vectors = population(rng, 160)
    halves = (slice(80), slice(80, None))
    longer = number_shift(numbers[halves[0]], numbers[halves[1]] + 6, rng=rng, draws=PERMUTATIONS)
    german = category_shift(words[halves[0]], ["de"] * 30 + list(words[halves[1]][30:]), rng=rng, draws=PERMUTATIONS)
    moved = vectors[halves[1]] + np.eye(24)[0]
    moved /= np.linalg.norm(moved, axis=1, keepdims=True)
    topic = vector_shift(vectors[halves[0]], moved, rng=rng, permutations=PERMUTATIONS)
    assert max(longer, german, topic) < 0.01


def test_the_same_samples_are_never_a_shift():
    numbers, words, vectors = population(np.random.default_rng(3), 50)
    rng = np.random.default_rng(4)
    assert number_shift(numbers, numbers, rng=rng, draws=99) == 1.0
    assert category_shift(words, words, rng=rng, draws=99) == 1.0
    assert vector_shift(vectors, vectors, rng=rng, permutations=99) > 0.5


def test_one_category_or_equal_vectors_tell_nothing():
    rng = np.random.default_rng(0)
    assert category_shift(["en"] * 30, ["en"] * 40, rng=rng, draws=99) == 1.0
    assert vector_shift(np.ones((30, 4)), np.ones((40, 4)), rng=rng, permutations=99) == 1.0


def test_the_distance_of_two_samples_has_the_p_value_of_the_reference():
    rng = np.random.default_rng(11)
    before, after = rng.normal(size=60), rng.normal(loc=0.4, size=50)
    found = number_shift(before, after, rng=rng, draws=20_000)
    assert found == pytest.approx(ks_2samp(before, after, method="exact").pvalue, abs=0.01)


def test_the_counts_of_two_samples_have_the_p_value_of_the_reference():
    before, after = ["a"] * 60 + ["b"] * 40, ["a"] * 45 + ["b"] * 55
    found = category_shift(before, after, rng=np.random.default_rng(2), draws=20_000)
    assert found == pytest.approx(fisher_exact([[60, 40], [45, 55]]).pvalue, abs=0.01)


def test_a_seed_makes_the_result_the_same():
    _, words, vectors = population(np.random.default_rng(5), 60)
    found = {
        (
            category_shift(words[:30], words[30:], rng=np.random.default_rng(9), draws=99),
            vector_shift(vectors[:30], vectors[30:], rng=np.random.default_rng(9), permutations=99),
        )
        for _ in range(2)
    }
    assert len(found) == 1


@pytest.mark.parametrize(
    "call", [lambda rng: number_shift([], [1], rng=rng), lambda rng: category_shift(["a"], [], rng=rng)]
)
def test_an_empty_sample_is_refused(call):
    with pytest.raises(ValueError, match="must be at least 1"):
        call(np.random.default_rng(0))


def test_vectors_of_different_lengths_are_refused():
    with pytest.raises(ValueError, match="24 and 23 dimensions"):
        vector_shift(np.ones((3, 24)), np.ones((3, 23)), rng=np.random.default_rng(0))


@given(
    st.lists(st.integers(0, 5), min_size=1, max_size=30),
    st.lists(st.integers(0, 5), min_size=1, max_size=30),
)
def test_a_p_value_is_a_probability(first, second):
    rng = np.random.default_rng(0)
    assert 0 < number_shift(first, second, rng=rng, draws=19) <= 1
    assert 0 < category_shift([*map(str, first)], [*map(str, second)], rng=rng, draws=19) <= 1
