"""One thread that owns the model, with a bounded queue before it; `server` puts HTTP in front.

A generation that nobody waits for any more ends at its next token; one that still queues leaves the queue at once.
"""

import asyncio
import threading
from collections import deque
from collections.abc import AsyncGenerator, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from prometheus_client import CollectorRegistry, Counter, Gauge, generate_latest

from shipway.adapters.llamacpp.model import LocalModel
from shipway.adapters.openai_http.wire import EngineRequest, Finish, Piece, RefusedError
from shipway.core.clock import Clock, SystemClock
from shipway.telemetry.logs import logger

_RETRY_AFTER_S = 2

Delivered: TypeAlias = Piece | Finish | BaseException


@dataclass(slots=True, eq=False)
class _Job:
    request: EngineRequest
    loop: asyncio.AbstractEventLoop
    inbox: asyncio.Queue[Delivered] = field(default_factory=asyncio.Queue)
    cancelled: bool = False

    def deliver(self, item: Delivered) -> None:
        # The loop may be closed already when the process is ending.
        with suppress(RuntimeError):
            self.loop.call_soon_threadsafe(self.inbox.put_nowait, item)


class _Metrics:
    def __init__(self, depth: Callable[[], int]) -> None:
        self.registry = CollectorRegistry()
        queue = Gauge("shipway_engine_queue_depth", "Requests waiting.", registry=self.registry)
        queue.set_function(depth)
        self.requests = Counter("shipway_engine_requests", "Requests by outcome.", ["outcome"], registry=self.registry)
        self.tokens = Counter("shipway_engine_tokens", "Tokens by kind.", ["kind"], registry=self.registry)
        self.seconds = Counter("shipway_engine_generation_seconds", "Time spent generating.", registry=self.registry)

    def finished(self, finish: Finish) -> None:
        self.requests.labels("served").inc()
        self.tokens.labels("prompt").inc(finish.tokens_in - finish.tokens_cached)
        self.tokens.labels("prompt_cached").inc(finish.tokens_cached)
        self.tokens.labels("completion").inc(finish.tokens_out)


class ModelWorker:
    """A `TextEngine` over a model that serves one request at a time."""

    def __init__(
        self, alias: str, load: Callable[[], LocalModel], *, max_waiting: int = 32, clock: Clock | None = None
    ) -> None:
        self._log = logger("shipway.engine")
        self._alias = alias
        self._load = load
        self._max_waiting = max_waiting
        self._clock = clock or SystemClock()
        self._state = "loading"
        self._waiting: deque[_Job] = deque()
        self._current: _Job | None = None
        self._changed = threading.Condition()
        self._stopping = False
        self._thread: threading.Thread | None = None
        self._metrics = _Metrics(lambda: len(self._waiting))

    def models(self) -> tuple[str, ...]:
        """Return the one model's name."""
        return (self._alias,)

    def state(self) -> str:
        """Return `ready`, `loading`, or what went wrong."""
        return self._state

    def metrics(self) -> bytes:
        """Return the Prometheus text exposition."""
        return generate_latest(self._metrics.registry)

    async def control(self, method: str, path: str, body: bytes) -> dict[str, Any] | None:
        """Know no other path."""
        del method, path, body
        return None

    async def start(self) -> None:
        """Start the thread, which loads the model first."""
        self._thread = threading.Thread(target=self._run, name="model", daemon=True)
        self._thread.start()

    async def stop(self) -> None:
        """End the current generation at its next token, refuse the waiting ones and join the thread."""
        with self._changed:
            self._stopping = True
            for job in self._waiting:
                job.deliver(_stopping())
            self._waiting.clear()
            if self._current is not None:
                self._current.cancelled = True
            self._changed.notify_all()
        if self._thread is not None:
            await asyncio.to_thread(self._thread.join)

    async def generate(self, request: EngineRequest) -> AsyncGenerator[Piece | Finish, None]:
        """Queue a request and yield its pieces; see the port."""
        job = _Job(request, asyncio.get_running_loop())
        self._enqueue(job)
        try:
            while True:
                item = await job.inbox.get()
                if isinstance(item, BaseException):
                    raise item
                yield item
                if isinstance(item, Finish):
                    return
        finally:
            self._cancel(job)

    def _enqueue(self, job: _Job) -> None:
        with self._changed:
            if self._state != "ready":
                raise RefusedError(503, f"the model is not ready: {self._state}", retry_after_s=_RETRY_AFTER_S)
            if self._stopping:
                raise _stopping()
            if len(self._waiting) >= self._max_waiting:
                self._metrics.requests.labels("queue_full").inc()
                message = f"{self._max_waiting} requests are waiting already; try again later"
                raise RefusedError(429, message, code="queue_full", retry_after_s=_RETRY_AFTER_S)
            self._waiting.append(job)
            self._changed.notify_all()

    def _cancel(self, job: _Job) -> None:
        with self._changed:
            job.cancelled = True
            with suppress(ValueError):
                self._waiting.remove(job)
                self._metrics.requests.labels("cancelled").inc()

    def _run(self) -> None:
        try:
            model = self._load()
        except Exception as error:  # noqa: BLE001 - the thread's edge: health reports it
            self._state = f"failed: {error}"
            self._log.exception("model_not_loaded", model=self._alias)
            return
        self._state = "ready"
        try:
            while (job := self._next()) is not None:
                self._serve(model, job)
        finally:
            model.close()

    def _next(self) -> _Job | None:
        with self._changed:
            self._current = None
            while not self._waiting and not self._stopping:
                self._changed.wait()
            if self._stopping:
                return None
            self._current = self._waiting.popleft()
            return self._current

    def _serve(self, model: LocalModel, job: _Job) -> None:
        started_s = self._clock.monotonic_s()
        try:
            for item in model.stream(job.request):
                if job.cancelled:
                    self._metrics.requests.labels("cancelled").inc()
                    job.deliver(_stopping())
                    return
                if isinstance(item, Finish):
                    self._metrics.finished(item)
                job.deliver(item)
        except RefusedError as error:
            self._metrics.requests.labels("refused").inc()
            job.deliver(error)
        except Exception as error:  # noqa: BLE001 - the thread's edge: the client is told, the next request is served
            self._metrics.requests.labels("failed").inc()
            self._log.exception("generation_failed", model=self._alias)
            job.deliver(RefusedError(500, f"the model failed: {type(error).__name__}"))
        finally:
            self._metrics.seconds.inc(self._clock.monotonic_s() - started_s)


def _stopping() -> RefusedError:
    return RefusedError(503, "the engine is stopping", code="stopping", retry_after_s=_RETRY_AFTER_S)
