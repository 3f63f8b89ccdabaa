import pytest
from hypothesis import given
from hypothesis import strategies as st

from shipway.core.errors import UsageError
from shipway.evals.model import Case
from shipway.evals.shards import Shard, missing_shards, parse_shard, shard_of


@given(st.integers(1, 12), st.lists(st.text(min_size=1, max_size=5), min_size=1, max_size=40, unique=True))
def test_every_case_is_in_exactly_one_part(parts, names):
    for name in names:
        case = Case(id=name, question="?")
        assert [Shard(number, parts).holds(case) for number in range(1, parts + 1)].count(True) == 1


def test_cases_of_one_cluster_stay_together():
    cases = [Case(id=f"c{n}", question="?", expected_sources=("doc",)) for n in range(20)]
    assert len({shard_of(case, 7) for case in cases}) == 1


def test_a_case_stays_in_its_part_when_others_come():
    assert shard_of(Case(id="refunds", question="?"), 4) == shard_of(Case(id="refunds", question="new words"), 4)


def test_the_parts_are_of_about_equal_size():
    counts = [0] * 4
    for n in range(4000):
        counts[shard_of(Case(id=f"c{n}", question="?"), 4) - 1] += 1
    assert min(counts) > 800


@pytest.mark.parametrize("text", ["", "2", "0/3", "4/3", "a/b", "1/0", "-1/3", "1/99999", "1.0/2"])
def test_what_is_no_part_is_refused(text):
    with pytest.raises(UsageError, match="is no part of a whole"):
        parse_shard(text)


def test_a_part_is_read():
    assert parse_shard(" 2/8 ") == Shard(2, 8)
    assert str(Shard(2, 8)) == "2/8"


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (["1/2", "2/2"], ""),
        (["2/2", "1/2"], ""),
        ([], "no shards"),
        (["1/3", "3/3"], "shard 2/3 is missing"),
        (["1/2", "1/2"], "shard 1/2 is there twice"),
        (["1/2", "2/3"], "shards of different wholes: 1/2, 2/3"),
    ],
)
def test_a_set_of_parts_is_a_whole_or_it_is_said_why_not(found, said):
    assert missing_shards([parse_shard(text) for text in found]) == said
