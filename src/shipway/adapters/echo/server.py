"""The echo engine: the OpenAI surface of the embedded engine, answered from the prompt itself.

The answer is the first sentence of a text that the last user message carries (`Text:`, `Passage:`, `Repeat the text:`),
or else that message as it is.
"""

import asyncio
import re
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any

from prometheus_client import CollectorRegistry, Counter, generate_latest

from shipway.adapters.echo.faults import FaultKind, FaultPlan, Faults, parse_plan
from shipway.adapters.openai_http.wire import CutConnectionError, EngineRequest, Finish, Piece, RefusedError

_TOKEN = re.compile(r"\S+\s*|\s+")
_CARRIED = re.compile(
    r"^(?:text|passage|context|repeat the text):\s*(.+?)(?=\n[A-Z][a-z]*:|\n\n|\Z)",
    re.IGNORECASE | re.MULTILINE | re.DOTALL,
)
_FIRST_SENTENCE = re.compile(r".+?[.!?](?=\s|$)", re.DOTALL)


class EchoEngine:
    """A `TextEngine` without a model."""

    def __init__(
        self, *, token_delay_ms: float = 0.0, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    ) -> None:
        self._delay_ms = token_delay_ms
        self._sleep = sleep
        self._faults = Faults()
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "shipway_engine_requests", "Requests by outcome.", ["outcome"], registry=self._registry
        )
        self._tokens = Counter("shipway_engine_tokens", "Tokens by kind.", ["kind"], registry=self._registry)

    def models(self) -> tuple[str, ...]:
        """Return the one name to list; any name is served."""
        return ("echo",)

    def state(self) -> str:
        """Be ready always."""
        return "ready"

    def metrics(self) -> bytes:
        """Return the Prometheus text exposition."""
        return generate_latest(self._registry)

    async def control(self, method: str, path: str, body: bytes) -> dict[str, Any] | None:
        """Read or replace the fault plan at `/faults`."""
        if path != "/faults" or method not in {"GET", "POST"}:
            return None
        if method == "POST":
            self._faults.set(parse_plan(body))
        return self._faults.plan.to_dict()

    async def start(self) -> None:
        """Load nothing."""

    async def stop(self) -> None:
        """Free nothing."""

    async def fail_before(self, model: str) -> None:
        """Draw a fault and fail as it says; for replies in one piece.

        Raises:
            RefusedError: the fault is a status.
        """
        await self._fail_before(self._faults.draw(model))

    async def generate(self, request: EngineRequest) -> AsyncGenerator[Piece | Finish, None]:
        """Yield the answer word by word; see the port."""
        fault = self._faults.draw(request.model)
        outcome = "cancelled"
        try:
            await self._fail_before(fault)
            async for item in self._spoken(request, fault):
                if isinstance(item, Finish):
                    # Counted before it is sent: the client may stop reading with it.
                    outcome = "served"
                yield item
        except (RefusedError, CutConnectionError):
            outcome = "fault"
            raise
        finally:
            self._requests.labels(outcome).inc()

    async def _fail_before(self, fault: FaultPlan | None) -> None:
        match fault.kind if fault else None:
            case FaultKind.ERROR_500:
                raise RefusedError(500, "injected fault", code="injected")
            case FaultKind.RATE_429:
                raise RefusedError(429, "injected fault", code="injected", retry_after_s=1)
            case FaultKind.HANG_BEFORE:
                await asyncio.Event().wait()
            case _:
                pass

    async def _spoken(self, request: EngineRequest, fault: FaultPlan | None) -> AsyncGenerator[Piece | Finish, None]:
        asked = "\n".join(item["content"] for item in request.messages) or request.prompt
        whole = _TOKEN.findall(_cut(answer_of(request), request.sampling.stop))
        words = whole[: request.sampling.max_tokens]
        delay_ms = self._delay_ms + (fault.ms if fault and fault.kind is FaultKind.SLOW else 0.0)
        for index, word in enumerate(words):
            if index >= len(words) // 2 and index:
                await self._fail_mid(fault)
            if delay_ms:
                await self._sleep(delay_ms / 1000)
            yield Piece(word)
        await self._fail_mid(fault)
        tokens_in = len(_TOKEN.findall(asked))
        self._tokens.labels("prompt").inc(tokens_in)
        self._tokens.labels("completion").inc(len(words))
        yield Finish("stop" if len(words) == len(whole) else "length", tokens_in, 0, len(words))

    async def _fail_mid(self, fault: FaultPlan | None) -> None:
        match fault.kind if fault else None:
            case FaultKind.CUT_MID:
                raise CutConnectionError("injected fault")
            case FaultKind.HANG_MID:
                await asyncio.Event().wait()
            case _:
                pass


def answer_of(request: EngineRequest) -> str:
    """Return the whole answer to a request; it depends on the request alone."""
    asked = next((item["content"] for item in reversed(request.messages) if item["role"] == "user"), request.prompt)
    carried = _CARRIED.search(asked)
    if carried is None:
        return asked
    text = " ".join(carried.group(1).split())
    first = _FIRST_SENTENCE.match(text)
    return first.group() if first else text


def _cut(text: str, stops: tuple[str, ...]) -> str:
    places = [place for stop in stops if (place := text.find(stop)) >= 0]
    return text[: min(places)] if places else text
