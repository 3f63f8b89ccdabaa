import pytest
from hypothesis import given
from hypothesis import strategies as st

from shipway.rag.quantities import Quantity, quantities


@pytest.mark.parametrize(
    ("text", "value", "unit"),
    [
        ("45 days", "45", "day"),
        ("a 45-day window", "45", "day"),
        ("forty-five days", "45", "day"),
        ("5 working days", "5", "day"),
        ("EUR 4.90", "4.9", "eur"),
        ("€4.90", "4.9", "eur"),
        ("4,90 euros", "4.9", "eur"),
        ("1,200 euros", "1200", "eur"),
        ("two hundred points", "200", ""),
        ("15 percent", "15", "percent"),
        ("15%", "15", "percent"),
        ("on 31 March", "31", "march"),
        ("before 9:30", "09:30", ""),
        ("from the third day", "3", "day"),
        ("the 3rd day", "3", "day"),
        ("1.70 litres", "1.7", "l"),
    ],
)
def test_a_quantity_is_the_same_however_it_is_written(text, value, unit):
    assert quantities(text) == (Quantity(value, unit),)


@pytest.mark.parametrize("text", ["one of them", "article TW-4102", "you may ask", "no numbers"])
def test_what_counts_nothing_is_no_quantity(text):
    assert quantities(text) == ()


def test_several_quantities_keep_their_order():
    assert [item.value for item in quantities("EUR 3.90, free from EUR 35, 3 to 5 days")] == ["3.9", "35", "3", "5"]


@given(st.text())
def test_no_text_breaks_the_reader(text):
    assert all(item.value for item in quantities(text))


@given(st.integers(min_value=0, max_value=10**6))
def test_thousands_separators_do_not_change_a_number(number):
    assert quantities(f"{number:,} grams") == quantities(f"{number} grams")
