"""Conversations in this process, and in the state's documents; both implement `gateway.memory.ConversationStore`."""

from collections import OrderedDict
from typing import Any

from shipway.core.clock import Clock
from shipway.core.errors import ConflictError, StoreError, UnavailableError
from shipway.core.ports import DocumentStore
from shipway.gateway.memory import MemoryPolicy, Owner, Turn, kept

KIND = "conversation"
_ATTEMPTS = 5
_PAGE = 10_000


class MemoryConversations:
    """Of one worker; the conversation that was quiet longest goes when there are more than `max_conversations`."""

    def __init__(self, clock: Clock, *, max_conversations: int = 10_000) -> None:
        self._clock = clock
        self._max = max_conversations
        self._kept: OrderedDict[str, tuple[tuple[Turn, ...], float]] = OrderedDict()

    async def recall(self, owner: Owner, policy: MemoryPolicy) -> tuple[Turn, ...]:
        """Return the turns, oldest first."""
        found = self._kept.get(owner.key)
        if found is None:
            return ()
        if found[1] <= self._clock.monotonic_s():
            del self._kept[owner.key]
            return ()
        return kept(found[0], policy)

    async def remember(self, owner: Owner, turn: Turn, policy: MemoryPolicy) -> None:
        """Add a turn."""
        turns = kept((*await self.recall(owner, policy), turn), policy)
        self._kept[owner.key] = (turns, self._clock.monotonic_s() + policy.ttl_s)
        self._kept.move_to_end(owner.key)
        while len(self._kept) > self._max:
            self._kept.popitem(last=False)

    async def forget(self, owner: Owner) -> bool:
        """Drop a conversation."""
        found = self._kept.pop(owner.key, None)
        return found is not None and found[1] > self._clock.monotonic_s()

    async def close(self) -> None:
        """Drop everything."""
        self._kept.clear()


class DocumentConversations:
    """In the state's documents (SQLite), so that all workers of an installation share them."""

    def __init__(self, documents: DocumentStore, clock: Clock) -> None:
        self._documents = documents
        self._clock = clock

    async def recall(self, owner: Owner, policy: MemoryPolicy) -> tuple[Turn, ...]:
        """Return the turns, oldest first."""
        found = await self._found(owner)
        return kept(_turns(found[0]), policy) if found is not None else ()

    async def remember(self, owner: Owner, turn: Turn, policy: MemoryPolicy) -> None:
        """Add a turn; two requests of one conversation at the same time both stay."""
        for _ in range(_ATTEMPTS):
            try:
                stored = await self._documents.get(KIND, owner.key)
                alive = stored is not None and stored[0]["expires_s"] > self._clock.now_s()
                before = _turns(stored[0]) if stored is not None and alive else ()
                turns = [item.to_dict() for item in kept((*before, turn), policy)]
                body = {"turns": turns, "expires_s": self._clock.now_s() + policy.ttl_s}
                version = stored[1] if stored is not None else 0
                await self._documents.put(KIND, owner.key, body, expected_version=version)
            except ConflictError:
                continue
            except StoreError as error:
                raise UnavailableError(f"the conversation cannot be stored: {error.message}") from error
            return
        raise UnavailableError("the conversation kept changing; the turn is not remembered")

    async def forget(self, owner: Owner) -> bool:
        """Drop a conversation."""
        alive = await self._found(owner) is not None
        try:
            await self._documents.delete(KIND, owner.key)
        except StoreError as error:
            raise UnavailableError(f"the conversation cannot be dropped: {error.message}") from error
        return alive

    async def purge(self) -> int:
        """Drop what has expired and return how many there were; the wiring runs it now and then."""
        now_s = self._clock.now_s()
        expired = [key for key, body, _ in await self._documents.list(KIND, limit=_PAGE) if body["expires_s"] <= now_s]
        for key in expired:
            await self._documents.delete(KIND, key)
        return len(expired)

    async def close(self) -> None:
        """Leave the documents to the state, which they belong to."""

    async def _found(self, owner: Owner) -> tuple[dict[str, Any], int] | None:
        try:
            stored = await self._documents.get(KIND, owner.key)
        except StoreError as error:
            raise UnavailableError(f"the conversation cannot be read: {error.message}") from error
        return stored if stored is not None and stored[0]["expires_s"] > self._clock.now_s() else None


def _turns(body: dict[str, Any]) -> tuple[Turn, ...]:
    return tuple(Turn(**item) for item in body["turns"])
