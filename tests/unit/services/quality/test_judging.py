import asyncio

import pytest
from tests.unit.services.quality.observed import (
    ENVIRONMENT,
    SECRET_WORDS,
    Opinions,
    copy_of,
    observed,
    online,
    sampled,
    served,
)

from shipway.adapters.memory.store import MemoryStore
from shipway.adapters.sql.store import SqlStore
from shipway.core.clock import ManualClock
from shipway.core.errors import JudgeReplyError
from shipway.gateway.shadow import PAIR_KIND
from shipway.services.quality.judging import ERROR_KIND, AnswerJudging
from shipway.services.quality.purse import BUDGET_KIND

pytestmark = pytest.mark.anyio


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(1_750_000_000.0)


def judging(store: MemoryStore, clock: ManualClock) -> AnswerJudging:
    return AnswerJudging(store, clock.now_s, ENVIRONMENT)


async def pair(store: MemoryStore, name: str, stable: str, shadow: str) -> None:
    await store.records.append([served(name), copy_of(name)])
    body = {"request_id": name, "at_s": 1.0, "route": "ask", "stable": "rel_a", "shadow": "rel_b"}
    texts = {"question": "What is it?", "stable_answer": stable, "shadow_answer": shadow}
    await store.documents.put(PAIR_KIND, f"w/{name}", {**body, **texts})


async def test_a_kept_answer_is_judged_once_with_the_arm_of_its_request(store, clock):
    await sampled(store, "r1", release="rel_b", is_candidate=True)
    opinions = Opinions()
    worker = judging(store, clock)
    assert (await worker.judge_samples(online(store, opinions))).observed == 1
    assert (await worker.judge_samples(online(store, opinions))).observed == 0

    [item] = await observed(store)
    assert (item.id, item.kind, item.value) == ("quality/r1", "quality", 0.75)
    assert (item.release, item.is_candidate, item.candidate_weight) == ("rel_b", True, 0.25)
    assert len(opinions.asked) == 1


async def test_a_crash_between_judging_and_writing_gives_one_observation(store, clock, monkeypatch):
    await sampled(store, "r1")
    opinions = Opinions()
    append = store.observations.append

    async def dies(_items):
        raise KeyboardInterrupt

    monkeypatch.setattr(store.observations, "append", dies)
    with pytest.raises(KeyboardInterrupt):
        await judging(store, clock).judge_samples(online(store, opinions))
    monkeypatch.setattr(store.observations, "append", append)

    await judging(store, clock).judge_samples(online(store, opinions))
    await judging(store, clock).judge_samples(online(store, opinions))
    assert len(await observed(store)) == 1
    assert len(opinions.asked) == 2


async def test_a_crash_after_writing_is_not_judged_again_by_the_next_process(store, clock):
    await sampled(store, "r1")
    opinions = Opinions()
    await judging(store, clock).judge_samples(online(store, opinions))
    assert (await judging(store, clock).judge_samples(online(store, opinions))).observed == 0
    assert len(opinions.asked) == 1


async def test_two_loops_at_once_observe_each_answer_once(store, clock):
    for number in range(20):
        await sampled(store, f"r{number}")
    rounds = await asyncio.gather(*(judging(store, clock).judge_samples(online(store, Opinions())) for _ in range(3)))
    assert sum(item.observed for item in rounds) == 20
    assert len(await observed(store)) == 20


@pytest.mark.parametrize("failure", [JudgeReplyError(f"no judgement: {SECRET_WORDS}"), ValueError(SECRET_WORDS)])
async def test_a_judge_that_fails_is_an_error_that_is_counted_and_never_a_score(store, clock, failure):
    await sampled(store, "r1")
    found = await judging(store, clock).judge_samples(online(store, Opinions(lambda _: failure)))
    assert (found.observed, found.errors) == (0, 1)
    assert await observed(store) == []
    [(_, row, _)] = await store.documents.list(ERROR_KIND)
    assert row["error"] == type(failure).__name__
    assert SECRET_WORDS not in str(row)


async def test_a_failure_is_tried_again_later_and_given_up_after_three(store, clock):
    await sampled(store, "r1")
    opinions = Opinions(lambda _: ValueError("no"))
    worker = judging(store, clock)
    for _ in range(3):
        await worker.judge_samples(online(store, opinions))
    assert len(opinions.asked) == 1
    for _ in range(6):
        clock.advance(600.0)
        await worker.judge_samples(online(store, opinions))
        worker = judging(store, clock)
    assert len(opinions.asked) == 3


async def test_one_bad_answer_does_not_keep_the_others_from_being_judged(store, clock):
    for number in range(5):
        await sampled(store, f"r{number}", answer="poison" if number == 0 else "fine", at_s=float(number))
    judge = Opinions(lambda answer: ValueError("no") if answer == "poison" else 1.0)
    found = await judging(store, clock).judge_samples(online(store, judge))
    assert (found.observed, found.errors) == (4, 1)


async def test_an_answer_that_claims_nothing_is_no_score(store, clock):
    await sampled(store, "r1", answer="I don't know.")
    opinions = Opinions()
    assert (await judging(store, clock).judge_samples(online(store, opinions))).observed == 0
    assert opinions.asked == []


async def test_an_answer_whose_record_is_still_on_its_way_is_judged_when_it_came(store, clock):
    await sampled(store, "r1")
    late = MemoryStore()
    late.documents = store.documents
    worker = judging(late, clock)
    assert (await worker.judge_samples(online(late, Opinions()))).observed == 0
    await late.records.append([served("r1")])
    assert (await worker.judge_samples(online(late, Opinions()))).observed == 1


async def test_the_budget_is_never_exceeded_whoever_judges(store, clock):
    for number in range(60):
        await sampled(store, f"r{number}", answer="x" * 389)
    # 389 + 11 bytes are 100 tokens.
    rounds = await asyncio.gather(
        *(judging(store, clock).judge_samples(online(store, Opinions(), budget=1050, clock=clock)) for _ in range(3))
    )
    assert all(item.used_up for item in rounds)
    [(_, body, _)] = await store.documents.list(BUDGET_KIND)
    assert body["tokens"] == 1000
    assert len(await observed(store)) <= 10


async def test_when_the_budget_is_used_up_the_rest_waits_for_tomorrow(store, clock):
    for number in range(3):
        await sampled(store, f"r{number}", answer="x" * 389)
    worker, judge = judging(store, clock), Opinions()
    assert (await worker.judge_samples(online(store, judge, budget=250, clock=clock))).used_up
    assert len(await observed(store)) == 2
    assert await store.documents.list(ERROR_KIND) == []
    clock.advance(86_400.0)
    await worker.judge_samples(online(store, judge, budget=250, clock=clock))
    assert len(await observed(store)) == 3


async def test_no_word_of_user_or_model_is_in_an_observation(store, clock):
    await sampled(store, "r1")
    await pair(store, "r2", SECRET_WORDS, f"{SECRET_WORDS} too")
    worker = judging(store, clock)
    await worker.judge_samples(online(store, Opinions()))
    await worker.judge_pairs(online(store, Opinions()))
    said = str([item.to_dict() for item in await observed(store)])
    assert len(await observed(store)) == 2
    assert SECRET_WORDS not in said
    assert "What is it" not in said


class Alike:
    digest = "sha256:0"

    async def similarity(self, pairs):
        return [0.97 for _ in pairs]


async def test_both_answers_of_a_pair_are_judged_and_their_difference_is_observed(store, clock):
    await pair(store, "r1", "good", "worse")
    judge = online(store, Opinions(lambda answer: 0.9 if answer == "good" else 0.4), similarity=Alike())
    assert (await judging(store, clock).judge_pairs(judge)).observed == 1
    [item] = await observed(store)
    assert item.id == "judged_pair/r1.shadow"
    assert item.value == pytest.approx(-0.5)
    assert item.details["similarity"] == 0.97
    assert (item.conversation, item.rollout) == ("of r1", "rol_1")


async def test_who_declines_what_the_other_answered_has_given_nothing(store, clock):
    await pair(store, "r1", "good", "I don't know.")
    await pair(store, "r2", "I don't know.", "I don't know.")
    await judging(store, clock).judge_pairs(online(store, Opinions(lambda _: 0.9)))
    [item] = await observed(store)
    assert (item.value, item.details["declined"]) == (-0.9, "shadow")


async def test_pairs_and_samples_of_another_environment_are_left_alone(store, clock):
    await sampled(store, "r1", environment="staging")
    await pair(store, "r2", "a", "b")
    other = AnswerJudging(store, clock.now_s, "staging")
    await other.judge_pairs(online(store, Opinions()))
    assert await observed(store) == []


async def test_errors_of_answers_that_are_long_gone_are_forgotten(store, clock):
    for number in range(1010):
        await store.documents.put(ERROR_KIND, f"{ENVIRONMENT}/old/{number}", {"attempts": 1, "at_s": 0.0, "error": "X"})
    await sampled(store, "r1")
    await judging(store, clock).judge_samples(online(store, Opinions(lambda _: ValueError("no"))))
    rows = await store.documents.list(ERROR_KIND, limit=5000)
    assert len(rows) == 1000
    assert rows[-1][0].endswith("/r1")


async def test_two_processes_on_one_file_keep_the_budget_and_observe_each_answer_once(tmp_path, clock):
    first = await SqlStore.open(tmp_path / "state.db", create=True)
    second = await SqlStore.open(tmp_path / "state.db")
    try:
        for number in range(24):
            await sampled(first, f"r{number}", answer="x" * 389)
        loops = [(store, judging(store, clock)) for store in (first, second)]
        await asyncio.gather(
            *(loop.judge_samples(online(store, Opinions(), budget=2000, clock=clock)) for store, loop in loops)
        )
        [(_, body, _)] = await first.documents.list(BUDGET_KIND)
        found = await observed(first)
    finally:
        await first.close()
        await second.close()
    assert body["tokens"] == 2000
    assert 10 <= len(found) <= 20
    assert len({item.id for item in found}) == len(found)
