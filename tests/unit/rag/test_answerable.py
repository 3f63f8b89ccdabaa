"""Calibration keeps its promise about wrong refusals."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shipway.core.errors import UsageError
from shipway.rag.answerable import Coefficients, Signals
from shipway.rag.calibration import calibrate

signals = st.builds(Signals, cosine=st.floats(-1, 1), rerank=st.floats(-12, 12), coverage=st.floats(0, 1))
PAIRS = [(Signals(0.6 + i / 100, 5.0, 1.0), True) for i in range(20)] + [
    (Signals(0.2 + i / 100, -5.0, 0.2), False) for i in range(10)
]


def test_separable_questions_are_separated():
    found = calibrate(PAIRS, wrong_refusal_target=0.0)
    assert (found.wrong_refusals, found.right_refusals) == (0.0, 1.0)
    assert found.coefficients.probability(Signals(0.7, 5.0, 1.0)) > found.coefficients.threshold
    assert found.coefficients.probability(Signals(0.1, -8.0, 0.0)) < found.coefficients.threshold


@given(
    answerable=st.lists(signals, min_size=5, max_size=25),
    unanswerable=st.lists(signals, min_size=5, max_size=25),
    target=st.sampled_from([0.0, 0.05, 0.1, 0.5]),
)
def test_wrong_refusals_never_exceed_the_target_and_no_weight_is_negative(answerable, unanswerable, target):
    pairs = [(s, True) for s in answerable] + [(s, False) for s in unanswerable]
    found = calibrate(pairs, wrong_refusal_target=target)
    assert found.wrong_refusals <= target
    assert min(found.coefficients.cosine, found.coefficients.rerank, found.coefficients.coverage) >= 0


def test_two_questions_nearer_than_the_last_digit_of_the_threshold_are_still_told_apart():
    answerable = [1e-05, 0.0, 1.0, 1e-05, 1e-05, -1.0, -1e-05]
    unanswerable = [1.0, -1e-05, 1e-05, -1.0, -1.0]
    pairs = [(Signals(0.0, value), True) for value in answerable]
    pairs += [(Signals(0.0, value), False) for value in unanswerable]
    assert calibrate(pairs, wrong_refusal_target=0.5).wrong_refusals <= 0.5


def test_a_probability_stays_in_its_range_for_any_logit():
    extreme = Coefficients(bias=1e9)
    assert extreme.probability(Signals(1, 1)) == pytest.approx(1.0)
    assert Coefficients(bias=-1e9).probability(Signals(1, 1)) == pytest.approx(0.0)


def test_too_few_questions_of_a_kind_are_refused():
    with pytest.raises(UsageError, match="20 answerable and 4 unanswerable"):
        calibrate(PAIRS[:24])


def test_a_target_outside_its_range_is_refused():
    with pytest.raises(UsageError, match=r"wrong_refusal_target 1\.0"):
        calibrate(PAIRS, wrong_refusal_target=1.0)
