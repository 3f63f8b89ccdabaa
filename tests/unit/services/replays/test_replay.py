import pytest

from shipway.core.record import ABSTAINED
from shipway.evals.metric_context import MetricContext
from shipway.evals.model import Case, Output
from shipway.services.replays.replay import answered


@pytest.mark.parametrize(
    ("output", "score"),
    [
        (Output("It is so."), 1.0),
        (Output(""), 0.0),
        (Output("  \n"), 0.0),
        (Output("I don't know."), 0.0),
        (Output("Nothing was found.", events=(ABSTAINED,)), 0.0),
    ],
)
def test_an_answer_is_words_that_are_no_refusal(output, score):
    assert answered(Case("c", "Why?"), output, MetricContext()) == score
