"""What gates compute is what scipy and statsmodels compute."""

import numpy as np
import pytest
from scipy import stats as scipy_stats
from statsmodels.regression.linear_model import OLS
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.proportion import proportion_confint

from shipway.stats.clusters import clustered_mean
from shipway.stats.paired import holm, paired_test
from shipway.stats.proportions import clopper_pearson_lower, clopper_pearson_upper, wilson_interval

SEEDS = range(12)


def drawn(seed, n=12):
    rng = np.random.default_rng(seed)
    return np.round(rng.normal(-0.1, 0.4, size=n), 2), rng


@pytest.mark.parametrize("seed", SEEDS)
def test_the_exact_sign_flip_is_scipys_permutation_test(seed):
    values, _ = drawn(seed)
    found = paired_test(values, [str(index) for index in range(values.size)], alpha=0.05, seed=0)
    expected = scipy_stats.permutation_test(
        (values,), np.mean, permutation_type="samples", alternative="less", n_resamples=np.inf
    )
    assert found.exact
    assert found.p_value == pytest.approx(expected.pvalue, abs=1e-12)


@pytest.mark.parametrize("seed", SEEDS)
def test_holm_is_that_of_statsmodels(seed):
    p_values = np.random.default_rng(seed).uniform(0, 0.2, size=7)
    adjusted = holm({str(index): float(value) for index, value in enumerate(p_values)})
    assert list(adjusted.values()) == pytest.approx(list(multipletests(p_values, method="holm")[1]))


@pytest.mark.parametrize(("successes", "n"), [(0, 10), (3, 10), (10, 10), (37, 95), (299, 300)])
def test_bounds_of_proportions_are_those_of_statsmodels(successes, n):
    low, high = proportion_confint(successes, n, alpha=0.10, method="beta")
    assert clopper_pearson_lower(successes, n, 0.05) == pytest.approx(float(low))
    assert clopper_pearson_upper(successes, n, 0.05) == pytest.approx(float(high))
    low, high = proportion_confint(successes, n, alpha=0.05, method="wilson")
    assert wilson_interval(successes, n, 0.95) == pytest.approx((float(low), float(high)), abs=1e-9)


@pytest.mark.parametrize("seed", SEEDS)
def test_the_clustered_standard_error_is_that_of_a_cluster_robust_regression(seed):
    values, rng = drawn(seed, n=60)
    groups = rng.integers(0, 15, size=60)
    found = clustered_mean(values, [str(group) for group in groups])
    count = len(set(groups.tolist()))
    fit = OLS(values, np.ones(60)).fit(cov_type="cluster", cov_kwds={"groups": groups, "use_correction": False})
    expected = float(fit.bse[0]) * np.sqrt(count / (count - 1))
    assert found.mean == pytest.approx(float(fit.params[0]))
    assert found.standard_error == pytest.approx(expected)
