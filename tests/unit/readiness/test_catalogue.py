from collections import Counter

import pytest

from shipway.core.errors import NotFoundError
from shipway.readiness.catalogue import CHECKS, LEVELS, check_named, wording
from shipway.readiness.model import Area


def test_every_item_of_the_checklists_is_a_check():
    items = Counter(check.origin for check in CHECKS)

    assert items == {"D 11": 44, "A 12": 7, "A 13": 5, "E 5": 10, "D ladder": 4}
    assert sum(items.values()) - items["D ladder"] == 66


@pytest.mark.parametrize("area", list(Area))
def test_numbers_of_an_area_are_dense(area):
    assert [check.number for check in CHECKS if check.area is area] == list(
        range(1, 1 + sum(check.area is area for check in CHECKS))
    )


def test_every_level_above_the_first_needs_something_and_says_why():
    assert {check.level for check in CHECKS} == set(range(1, len(LEVELS)))
    assert all(check.because for check in CHECKS)


def test_a_check_is_found_in_any_case():
    assert check_named("sec-5").id == "SEC-5"
    with pytest.raises(NotFoundError, match="SEC-55"):
        check_named("SEC-55")


def test_what_a_check_asks_decides_which_statements_count():
    assert len({wording(check) for check in CHECKS}) == len(CHECKS)
