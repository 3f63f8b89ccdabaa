"""Going round many things, a part at a time."""

import pytest

from shipway.gateway.rounds import Rounds


@pytest.mark.parametrize("count", [0, 1, 64])
def test_few_are_all_seen_in_every_part(count):
    rounds = Rounds(set(range(count)), 16)
    for _ in range(3):
        assert sorted(rounds.part()) == list(range(count))
        assert rounds.is_over


@pytest.mark.parametrize(("count", "parts"), [(65, 2), (512, 8), (1024, 16), (10_000, 16)])
def test_many_are_seen_once_a_round(count, parts):
    rounds = Rounds(set(range(count)), 16)
    seen = [rounds.part()]
    while not rounds.is_over:
        seen.append(rounds.part())
    assert len(seen) == parts
    assert sorted(thing for part in seen for thing in part) == list(range(count))


def test_what_joins_is_seen_in_the_next_round():
    things = set(range(100))
    rounds = Rounds(things, 16)
    first = rounds.part()
    things.add(100)
    assert 100 not in [*first, *rounds.part()]
    assert 100 in [*rounds.part(), *rounds.part()]
