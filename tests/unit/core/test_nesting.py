from hypothesis import given
from hypothesis import strategies as st

from shipway.core.nesting import DEEPEST, too_deep


def nested(levels: int) -> object:
    value: object = "x"
    for number in range(levels):
        value = [value] if number % 2 else {"a": value}
    return value


@given(st.integers(0, DEEPEST))
def test_what_a_person_writes_is_not_too_deep(levels):
    assert not too_deep(nested(levels))


@given(st.integers(DEEPEST + 1, 20_000))
def test_more_is_too_deep_and_is_found_without_recursion(levels):
    assert too_deep(nested(levels))


def test_a_list_that_holds_itself_is_too_deep():
    endless: list[object] = []
    endless.append(endless)
    assert too_deep(endless)


def test_shared_values_are_looked_at_once_so_that_they_cannot_multiply_the_work():
    value: object = ["x"]
    for _ in range(DEEPEST - 1):
        value = [value] * 9
    assert not too_deep(value)
