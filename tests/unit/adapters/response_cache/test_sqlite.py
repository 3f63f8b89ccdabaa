import pytest

from shipway.adapters.response_cache.sqlite import MOST_ANSWER_BYTES, CacheStats, opened_cache
from shipway.core.canonical import digest_json
from shipway.core.clock import ManualClock
from shipway.core.errors import StoreError
from shipway.evals.model import Output


def key(number):
    return digest_json(number)


async def test_answers_survive_closing_and_are_counted(tmp_path):
    path = tmp_path / "responses.db"
    async with opened_cache(path, ManualClock()) as cache:
        await cache.put(key(1), Output(answer="kept"))
    async with opened_cache(path, ManualClock()) as cache:
        assert (await cache.get(key(1))).answer == "kept"
        assert await cache.stats() == CacheStats(1, len('{"answer":"kept"}\n'))
        assert (await cache.clear()).answers == 1
        assert await cache.stats() == CacheStats(0, 0)


async def test_what_was_not_used_for_longest_goes_first(tmp_path):
    clock = ManualClock()
    async with opened_cache(tmp_path / "responses.db", clock, most_bytes=10_000) as cache:
        for number in range(200):
            clock.advance(1)
            await cache.put(key(number), Output(answer="x" * 100))
            if number == 150:
                await cache.get(key(20))
        await cache.put(key(200), Output(answer="x"))
        assert await cache.get(key(0)) is None
        assert await cache.get(key(199)) is not None


async def test_a_very_long_answer_is_not_kept(tmp_path):
    async with opened_cache(tmp_path / "responses.db", ManualClock()) as cache:
        await cache.put(key(1), Output(answer="x" * MOST_ANSWER_BYTES))
        assert await cache.get(key(1)) is None


async def test_a_file_that_is_no_cache_is_refused_with_what_to_do(tmp_path):
    path = tmp_path / "responses.db"
    path.write_text("this is no database, but a text of some length " * 10)
    with pytest.raises(StoreError, match="cannot be used") as caught:
        async with opened_cache(path, ManualClock()):
            pass
    assert "remove the file" in caught.value.hint
