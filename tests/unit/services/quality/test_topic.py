import pytest

from shipway.services.quality.topic import on_topic


@pytest.mark.parametrize(("similarity", "low", "high"), [(-1.0, 0.0, 0.001), (0.1, 0.05, 0.2), (0.6, 0.99, 1.0)])
def test_an_unrelated_answer_is_near_zero_and_a_related_one_near_one(similarity, low, high):
    assert low <= on_topic(similarity) <= high


def test_more_alike_is_never_worth_less():
    values = [on_topic(step / 20) for step in range(-20, 21)]
    assert values == sorted(values)
    assert values[0] > 0.0
    assert values[-1] < 1.0
