"""Redis that cannot be asked is said so at once, and left alone for a moment."""

from pathlib import Path

import pytest

from shipway.adapters.redis_answers.answers import RedisAnswers
from shipway.adapters.redis_answers.client import RestingRedis
from shipway.core.errors import UnavailableError
from shipway.gateway.cache_model import CacheKey

pytestmark = pytest.mark.anyio


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def now_s(self) -> float:
        return self.now

    def monotonic_s(self) -> float:
        return self.now


async def test_a_server_that_is_gone_is_unavailable_and_rests_before_it_is_asked_again(tmp_path: Path):
    clock = Clock()
    store = RedisAnswers(RestingRedis(f"unix://{tmp_path}/none.sock", clock))

    with pytest.raises(UnavailableError, match="cannot be asked"):
        await store.get(CacheKey("r", "1"))
    with pytest.raises(UnavailableError, match="left alone"):
        await store.get(CacheKey("r", "1"))
    clock.now = 2.0
    with pytest.raises(UnavailableError, match="cannot be asked"):
        await store.get(CacheKey("r", "1"))
    await store.close()
