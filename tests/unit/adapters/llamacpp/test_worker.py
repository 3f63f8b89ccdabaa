import asyncio
import threading

import pytest

from shipway.adapters.llamacpp.worker import ModelWorker
from shipway.adapters.openai_http.wire import EngineRequest, Finish, Piece, RefusedError, Sampling

pytestmark = pytest.mark.anyio


def request(text: str) -> EngineRequest:
    return EngineRequest("m", ({"role": "user", "content": text},), "", Sampling())


class SteppedModel:
    """A model that makes one piece for each permit; it remembers what it served."""

    def __init__(self, pieces: int = 3) -> None:
        self.permits = threading.Semaphore(0)
        self.pieces = pieces
        self.started: list[str] = []
        self.made: list[str] = []
        self.closed = False

    def stream(self, asked):
        text = asked.messages[0]["content"]
        self.started.append(text)
        if text == "too long":
            raise RefusedError(400, "does not fit", code="context_length_exceeded")
        if text == "broken":
            raise ZeroDivisionError
        for number in range(self.pieces):
            self.permits.acquire()
            self.made.append(f"{text}{number}")
            yield Piece(f"{text}{number}")
        yield Finish("stop", 10, 4, self.pieces)

    def close(self):
        self.closed = True


async def until(condition) -> None:
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0)


async def ready(model: SteppedModel, **options) -> ModelWorker:
    worker = ModelWorker("m", lambda: model, **options)
    await worker.start()
    await until(lambda: worker.state() == "ready")
    return worker


async def collected(worker: ModelWorker, text: str) -> list:
    return [item async for item in worker.generate(request(text))]


async def test_requests_are_served_one_after_the_other_in_order():
    model = SteppedModel(pieces=1)
    worker = await ready(model)
    first, second = (asyncio.create_task(collected(worker, text)) for text in "ab")
    await until(lambda: b"queue_depth 1.0" in worker.metrics())
    model.permits.release(2)
    assert await first == [Piece("a0"), Finish("stop", 10, 4, 1)]
    assert await second == [Piece("b0"), Finish("stop", 10, 4, 1)]
    assert model.started == ["a", "b"]
    await worker.stop()
    assert model.closed


async def test_a_full_queue_is_refused_with_429_and_when_to_come_back():
    model = SteppedModel(pieces=1)
    worker = await ready(model, max_waiting=1)
    tasks = [asyncio.create_task(collected(worker, "a"))]
    await until(lambda: model.started == ["a"])
    tasks.append(asyncio.create_task(collected(worker, "b")))
    await until(lambda: b"queue_depth 1.0" in worker.metrics())
    with pytest.raises(RefusedError) as refused:
        await collected(worker, "c")
    assert (refused.value.status, refused.value.retry_after_s) == (429, 2)
    model.permits.release(2)
    await asyncio.gather(*tasks)
    await worker.stop()


async def test_a_client_that_leaves_stops_its_generation_at_the_next_token():
    model = SteppedModel(pieces=100)
    worker = await ready(model)
    generation = worker.generate(request("a"))
    model.permits.release(1)
    assert await anext(generation) == Piece("a0")
    await generation.aclose()
    model.permits.release(50)
    await until(lambda: b'requests_total{outcome="cancelled"} 1.0' in worker.metrics())
    assert model.made == ["a0", "a1"]
    await worker.stop()


async def test_a_client_that_leaves_the_queue_frees_its_place_at_once():
    model = SteppedModel(pieces=1)
    worker = await ready(model)
    running = asyncio.create_task(collected(worker, "a"))
    await until(lambda: model.started == ["a"])
    waiting = asyncio.create_task(collected(worker, "b"))
    await until(lambda: b"queue_depth 1.0" in worker.metrics())
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    assert b"queue_depth 0.0" in worker.metrics()
    model.permits.release(1)
    await running
    assert model.started == ["a"]
    await worker.stop()


async def test_before_the_model_is_loaded_requests_are_refused_with_503():
    loaded = threading.Event()

    def load():
        loaded.wait()
        return SteppedModel()

    worker = ModelWorker("m", load)
    await worker.start()
    assert worker.state() == "loading"
    with pytest.raises(RefusedError) as refused:
        await collected(worker, "a")
    assert refused.value.status == 503
    loaded.set()
    await until(lambda: worker.state() == "ready")
    await worker.stop()


async def test_a_model_that_cannot_be_loaded_is_told_by_health():
    def load():
        raise ValueError("the file is cut off")

    worker = ModelWorker("m", load)
    await worker.start()
    await until(lambda: worker.state() != "loading")
    assert worker.state() == "failed: the file is cut off"
    await worker.stop()


@pytest.mark.parametrize(("text", "status"), [("too long", 400), ("broken", 500)])
async def test_a_failing_request_does_not_take_the_next_one_with_it(text, status):
    model = SteppedModel(pieces=1)
    worker = await ready(model)
    with pytest.raises(RefusedError) as refused:
        await collected(worker, text)
    assert refused.value.status == status
    model.permits.release(1)
    assert (await collected(worker, "a"))[-1] == Finish("stop", 10, 4, 1)
    await worker.stop()


async def test_stopping_cuts_the_running_and_refuses_the_waiting():
    model = SteppedModel(pieces=100)
    worker = await ready(model)
    tasks = [asyncio.create_task(collected(worker, "a"))]
    await until(lambda: model.started == ["a"])
    tasks.append(asyncio.create_task(collected(worker, "b")))
    await until(lambda: b"queue_depth 1.0" in worker.metrics())
    stopping = asyncio.create_task(worker.stop())
    await asyncio.sleep(0)
    model.permits.release(100)
    await stopping
    ended = await asyncio.gather(*tasks, return_exceptions=True)
    assert [error.status for error in ended] == [503, 503]
    assert model.closed


async def test_tokens_are_counted_by_kind():
    model = SteppedModel(pieces=2)
    worker = await ready(model)
    model.permits.release(2)
    await collected(worker, "a")
    for line in (b'tokens_total{kind="prompt"} 6.0', b'{kind="prompt_cached"} 4.0', b'{kind="completion"} 2.0'):
        assert line in worker.metrics()
    await worker.stop()
