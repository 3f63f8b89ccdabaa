from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from shipway.adapters.memory.responses import MemoryResponseCache
from shipway.evals.model import Case, Output
from shipway.services.cached_target import CachedTarget, request_key

CASE = Case(id="c", question="How long?", tenant="t", groups=("g",), messages=({"role": "user", "content": "Hi"},))


class Counting:
    name = "t"

    def __init__(self, digest="sha256:1", error=None):
        self.digest, self.error, self.asked = digest, error, 0

    async def ask(self, case, *, repeat):
        self.asked += 1
        return Output(answer=f"{case.id} {repeat}", error=self.error, latency_ms=5.0)


async def test_the_same_request_is_asked_once_and_says_that_it_is_a_copy():
    inner, cache = Counting(), MemoryResponseCache()
    target = CachedTarget(inner, cache)
    first, second = await target.ask(CASE, repeat=0), await target.ask(CASE, repeat=0)
    assert inner.asked == 1
    assert (first.cached, second.cached) == (False, True)
    assert second == replace(first, cached=True)


async def test_repeats_have_answers_of_their_own():
    inner = Counting()
    target = CachedTarget(inner, MemoryResponseCache())
    assert [(await target.ask(CASE, repeat=repeat)).answer for repeat in range(3)] == ["c 0", "c 1", "c 2"]


async def test_an_error_is_asked_again():
    inner = Counting(error="503")
    target = CachedTarget(inner, MemoryResponseCache())
    await target.ask(CASE, repeat=0)
    await target.ask(CASE, repeat=0)
    assert inner.asked == 2


keys = st.tuples(
    st.text(min_size=1, max_size=4),
    st.builds(
        Case,
        id=st.text(min_size=1, max_size=2),
        question=st.text(max_size=3),
        tenant=st.sampled_from(["", "a", "b"]),
        groups=st.lists(st.sampled_from("gh"), max_size=2).map(tuple),
        variables=st.dictionaries(st.sampled_from("xy"), st.integers(0, 2)),
    ),
    st.integers(0, 3),
)


@given(keys, keys)
def test_repeats_targets_askers_and_questions_never_share_an_answer(one, other):
    assert (request_key(*one) == request_key(*other)) == (one == other and one[1].to_dict() == other[1].to_dict())


def test_what_a_right_answer_is_does_not_change_what_is_asked():
    assert request_key("d", CASE, 0) == request_key("d", replace(CASE, must_contain=("7",), reference="7 days"), 0)
