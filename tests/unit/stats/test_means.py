"""Means of two arms compared at every look: what scipy computes at one look, and rarely wrong over all of them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import integrate
from scipy import stats as scipy_stats

from shipway.stats.means import MIN_VALUES, Moments, one_sided_e_value, shift

finite = st.floats(-100.0, 100.0)


def moments(values):
    found = Moments()
    for value in values:
        found = found.add(float(value))
    return found


@given(st.lists(finite, min_size=1, max_size=30))
def test_moments_are_those_of_numpy_and_survive_storing(values):
    found = moments(values)
    assert (found.count, found.mean) == (len(values), pytest.approx(np.mean(values), abs=1e-9))
    assert found.squares == pytest.approx(np.var(values) * len(values), abs=1e-6)
    assert Moments.from_dict(found.to_dict()) == found


@pytest.mark.parametrize("seed", range(6))
def test_the_difference_in_its_standard_errors_is_welchs_t(seed):
    rng = np.random.default_rng(seed)
    candidate, stable = rng.normal(0.4, 1.5, size=40), rng.normal(0.0, 0.7, size=90)
    found = shift([(moments(candidate), moments(stable))], margin=0.0, scale=0.5)
    expected = scipy_stats.ttest_ind(candidate, stable, equal_var=False)
    assert found.difference / found.error == pytest.approx(float(expected.statistic))


@pytest.mark.parametrize("z", [-6.0, -1.0, 0.5, 8.0])
@pytest.mark.parametrize(("information", "scale"), [(0.05, 2.0), (3.0, 0.5), (300.0, 0.1)])
def test_the_evidence_is_the_integral_over_half_normal_drifts(z, information, scale):
    score = z * np.sqrt(information + scale**-2)
    peak, width = max(0.0, score / (information + scale**-2)), (information + scale**-2) ** -0.5
    drifts = np.linspace(max(0.0, peak - 14.0 * width), peak + 14.0 * width, 400_001)
    density = 2.0 * scipy_stats.norm.pdf(drifts, scale=scale)
    expected = integrate.simpson(density * np.exp(drifts * score - drifts**2 * information / 2.0), x=drifts)
    assert one_sided_e_value(score, information, scale=scale) == pytest.approx(float(expected), rel=1e-6)


def test_extreme_scores_stay_finite_and_in_order():
    values = [one_sided_e_value(score, 1000.0, scale=0.5) for score in (-1e6, -2000.0, -1000.0, 0.0, 1000.0, 1e6)]
    assert values == sorted(values)
    assert 0.0 < values[0] < values[-1] < float("inf")


def test_nothing_is_said_without_both_arms_and_nothing_final_with_few():
    one, many = moments([1.0]), moments(range(MIN_VALUES))
    assert shift([(one, Moments())], margin=0.0, scale=0.5) is None
    assert shift([(one, many)], margin=0.0, scale=0.5).e_value is None
    assert shift([(many, many)], margin=0.0, scale=0.5).e_value is not None


def test_arms_are_compared_within_a_weight_not_across():
    # At night both arms are cheaper, and the night is when the candidate has most conversations.
    day = (moments([10.0, 10.2] * 20), moments([10.0, 10.2] * 200))
    night = (moments([1.0, 1.2] * 200), moments([1.0, 1.2] * 20))
    assert shift([day, night], margin=0.0, scale=0.5).difference == pytest.approx(0.0, abs=1e-9)


def test_a_damaged_state_is_refused():
    with pytest.raises(ValueError, match="count"):
        Moments.from_dict({"count": -1, "mean": 0.0, "squares": 0.0})
    with pytest.raises(ValueError, match="moments need"):
        Moments(-1)
    with pytest.raises(ValueError, match="scale"):
        shift([], margin=0.0, scale=0.0)


def crosses(draw, seed, *, shift_by, weight=0.2, looks=600):
    """Tell whether the evidence for an increase over 0.405 ever reaches 20, looked at after every tenth value."""
    rng = np.random.default_rng(seed)
    arms = [Moments(), Moments()]
    for look in range(1, looks + 1):
        is_candidate = bool(rng.random() < weight)
        arms[is_candidate] = arms[is_candidate].add(float(draw(rng)) + shift_by * is_candidate)
        found = shift([(arms[True], arms[False])], margin=0.405, scale=0.5) if look % 10 == 0 else None
        if found is not None and (found.e_value or 0.0) >= 20.0:
            return True
    return False


@pytest.mark.parametrize(
    "draw",
    [
        lambda rng: rng.normal(0.0, 0.7),
        lambda rng: rng.choice([1.6, 5.7], p=[0.2, 0.8]),
        lambda rng: rng.exponential(1.0),
    ],
    ids=["normal", "two kinds of answers", "skewed"],
)
def test_an_increase_of_just_the_margin_is_called_more_in_at_most_alpha_of_runs(draw):
    wrong = sum(crosses(draw, seed, shift_by=0.405) for seed in range(300))
    # alpha = 5 % of 300 is 15; 27 is its 99.7 % upper bound.
    assert wrong <= 27


def test_double_is_soon_seen_and_unchanged_never():
    def draw(rng):
        return rng.normal(0.0, 0.6)

    assert sum(crosses(draw, seed, shift_by=0.9, looks=1000) for seed in range(40)) >= 36
    assert sum(crosses(draw, seed, shift_by=0.0) for seed in range(100)) == 0
