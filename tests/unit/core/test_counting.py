import pytest

from shipway.core.counting import counted, dollars


@pytest.mark.parametrize(
    ("number", "words"), [(0, "0 clusters"), (1, "1 cluster"), (2, "2 clusters"), (1200, "1,200 clusters")]
)
def test_one_thing_is_told_in_the_singular(number, words):
    assert counted(number, "cluster") == words


@pytest.mark.parametrize(
    ("amount_usd", "words"),
    [
        (0.0, "0.0000"),
        (0.0000321, "0.000032"),
        (0.00009, "0.000090"),
        (0.0021, "0.0021"),
        (0.37, "0.3700"),
        (1234.5, "1,234.5000"),
    ],
)
def test_no_amount_is_shown_as_nothing(amount_usd, words):
    assert dollars(amount_usd) == words
