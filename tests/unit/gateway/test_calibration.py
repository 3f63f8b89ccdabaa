from dataclasses import replace

import pytest

from shipway.core.errors import UsageError
from shipway.core.ids import Digest
from shipway.gateway.calibration import HIGHEST, LOWEST, Trials, calibrated

EMBEDDER, DATASET = Digest("sha256:e"), Digest("sha256:d")


def made(trials: Trials, rate: float = 0.01):
    return calibrated(trials, max_false_hit_rate=rate, embedder=EMBEDDER, dataset=DATASET, at_s=1.0)


def test_the_lowest_threshold_that_keeps_the_bound_is_chosen():
    found = made(Trials(wrong=(0.9,) + (0.3,) * 499, right=(0.95, 0.91, 0.5, -1.0)))

    # One wrong answer in 500 has a bound of 0.95 %, so the 0.9 may pass; two would not.
    assert (found.threshold, found.false_hits) == (LOWEST, 1)
    assert found.bound <= 0.01
    assert found.hit_share == 0.5


def test_wrong_neighbours_push_the_threshold_above_them():
    found = made(Trials(wrong=(0.90, 0.88) + (0.2,) * 298))

    assert found.threshold == pytest.approx(0.905)
    assert found.false_hits == 0
    assert found.hit_share is None


def test_too_few_questions_cannot_show_it_and_the_message_says_how_many_do():
    with pytest.raises(UsageError, match="that takes 299"):
        made(Trials(wrong=(0.1,) * 298))
    assert made(Trials(wrong=(0.1,) * 299)).bound <= 0.01


def test_no_threshold_is_better_than_a_wrong_one():
    with pytest.raises(UsageError, match="no threshold"):
        made(Trials(wrong=(1.0,) * 20 + (0.1,) * 400))


def test_the_search_ends_at_the_first_threshold_that_fails():
    # At 0.70 there would be room again for no rate at all: false hits only grow downwards.
    trials = Trials(wrong=(0.99,) * 1 + (0.8,) * 10 + (0.1,) * 489)
    found = made(trials)

    assert 0.8 < found.threshold <= HIGHEST
    assert sum(cosine >= found.threshold for cosine in trials.wrong) == found.false_hits


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({}, ""),
        ({"embedder": Digest("sha256:x")}, "embedding model"),
        ({"dataset": Digest("sha256:x")}, "questions"),
        ({"bound": 0.011}, "above"),
    ],
)
def test_a_calibration_holds_for_its_embedder_questions_and_bound_alone(change, reason):
    found = replace(made(Trials(wrong=(0.1,) * 400)), **change)
    said = found.outdated_because(embedder=EMBEDDER, dataset=DATASET, max_false_hit_rate=0.01)

    assert reason in said
    assert bool(said) == bool(reason)


def test_a_calibration_survives_the_store():
    found = made(Trials(wrong=(0.1,) * 400, right=(0.9,)))
    assert type(found).from_dict(found.to_dict()) == found
