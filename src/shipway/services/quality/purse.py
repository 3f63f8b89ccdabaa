"""The tokens that judging may take in a day, counted by all processes together.

A call reserves the most that it can take before it is made and gives back what it did not take. A process that dies in
between leaves its reservation taken: the budget may be used less than it could be, and is never exceeded.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from shipway.core.clock import Clock
from shipway.core.errors import ConflictError, RateLimitedError
from shipway.core.ports import DocumentStore
from shipway.rag.answer import Generation, Generator
from shipway.rag.compose import Message
from shipway.rag.ports import Embedder, Reranker
from shipway.services.judges.building import JudgeParts

BUDGET_KIND = "quality_budget"
_TRIES = 50
_TOKENS_A_MESSAGE = 16
_USED_UP = "the tokens for judging are used up for today"


@dataclass(frozen=True, slots=True)
class Ticket:
    """Tokens that were reserved, and the day they are of."""

    day: str
    tokens: int


@dataclass(frozen=True, slots=True)
class DailyPurse:
    """The budget of one environment; a token is counted when it is reserved."""

    documents: DocumentStore
    clock: Clock
    environment: str
    tokens_per_day: int

    async def reserve(self, tokens: int) -> Ticket:
        """Take tokens out of today's budget.

        Raises:
            RateLimitedError: there are not so many left; `retry_after_s` is the time until tomorrow.
        """
        day = self._day()
        if not await self._move(day, tokens):
            raise RateLimitedError(_USED_UP, retry_after_s=self._left_of_day_s())
        return Ticket(day, tokens)

    async def settle(self, ticket: Ticket, used: int) -> None:
        """Give back what a call did not take."""
        await self._move(ticket.day, used - ticket.tokens, refuse=False)

    async def taken(self) -> int:
        """Return what is taken of today's budget."""
        found = await self.documents.get(BUDGET_KIND, self._key(self._day()))
        return 0 if found is None else int(found[0]["tokens"])

    async def _move(self, day: str, tokens: int, *, refuse: bool = True) -> bool:
        for _ in range(_TRIES):
            found = await self.documents.get(BUDGET_KIND, self._key(day))
            before, version = (0, 0) if found is None else (int(found[0]["tokens"]), found[1])
            after = max(0, before + tokens)
            if refuse and after > self.tokens_per_day:
                return False
            try:
                await self.documents.put(BUDGET_KIND, self._key(day), {"tokens": after}, expected_version=version)
            except ConflictError:
                continue  # Another process took some; look again.
            return True
        raise ConflictError(f"the budget of {self.environment} changes all the time; a judgement was not counted")

    def _key(self, day: str) -> str:
        return f"{self.environment}/{day}"

    def _day(self) -> str:
        return datetime.fromtimestamp(self.clock.now_s(), UTC).date().isoformat()

    def _left_of_day_s(self) -> float:
        now = datetime.fromtimestamp(self.clock.now_s(), UTC)
        midnight = (now + timedelta(days=1)).replace(hour=0, minute=0, second=0, microsecond=0)
        return (midnight - now).total_seconds()


@dataclass(frozen=True, slots=True)
class PursedGenerator:
    """Implements `rag.answer.Generator` around the model of a judge."""

    generator: Generator
    purse: DailyPurse

    async def generate(
        self, messages: Sequence[Message], *, max_tokens: int, temperature: float, seed: int | None, stop: Sequence[str]
    ) -> Generation:
        """Return the reply to a chat.

        Raises:
            RateLimitedError: it could exceed the budget; nothing was asked.
            UnavailableError: as the model does.
        """
        # No tokenizer makes more tokens than there are bytes.
        most = sum(text_bytes(str(message["content"])) + _TOKENS_A_MESSAGE for message in messages) + max_tokens
        ticket = await self.purse.reserve(most)
        # Who fails may have read and written all of it.
        used = most
        try:
            made = await self.generator.generate(
                messages, max_tokens=max_tokens, temperature=temperature, seed=seed, stop=stop
            )
            used = made.tokens_in + made.tokens_out
        finally:
            await self.purse.settle(ticket, used)
        return made


@dataclass(frozen=True, slots=True)
class PursedParts:
    """Implements `judges.building.JudgeParts`: models that are asked take their tokens out of a purse."""

    parts: JudgeParts
    purse: DailyPurse

    async def embedder(self) -> Embedder:
        """Return the embedding model."""
        return await self.parts.embedder()

    async def reranker(self) -> Reranker:
        """Return the reranker."""
        return await self.parts.reranker()

    def generator(self, alias: str, timeout_s: float) -> AbstractAsyncContextManager[Generator]:
        """Open the model of an alias."""
        return self._generator(alias, timeout_s)

    @asynccontextmanager
    async def _generator(self, alias: str, timeout_s: float) -> AsyncIterator[Generator]:
        async with self.parts.generator(alias, timeout_s) as found:
            yield PursedGenerator(found, self.purse)


def text_bytes(text: str) -> int:
    """Return the size of a text, which no count of its tokens exceeds."""
    return len(text.encode("utf-8", "surrogatepass"))
