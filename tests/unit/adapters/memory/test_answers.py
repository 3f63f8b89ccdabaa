import tracemalloc

import orjson

from shipway.adapters.memory.answers import MemoryAnswers
from shipway.core.clock import ManualClock
from shipway.gateway.cache_model import CacheKey, Form, StoredAnswer


async def test_answers_take_the_memory_that_is_counted_for_them():
    store = MemoryAnswers(ManualClock(), max_bytes=1 << 20)
    text = "a" * 900
    await store.put(CacheKey("rel", "first"), StoredAnswer(Form.WHOLE, b"{}"), ttl_s=60.0)
    counted = store.size_bytes
    tracemalloc.start()
    try:
        for number in range(100):
            body = orjson.dumps({"number": number, "text": text})
            await store.put(CacheKey("rel", str(number)), StoredAnswer(Form.WHOLE, body), ttl_s=60.0)
        del body
        taken, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert taken < 2 * (store.size_bytes - counted)
