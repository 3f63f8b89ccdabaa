"""What was said before in a conversation, for routes that ask for it: values, rules and the port.

Above: `model_api`, on routes with a `MemoryPolicy` only. Below: `MemoryConversations` and `DocumentConversations` in
`adapters/memory/conversations` and `adapters/redis_answers/conversations`; all pass `tests/contract/conversations`.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol

import orjson

from shipway.gateway.conversation import Conversation
from shipway.gateway.validate import text_of

SURE_SOURCES = frozenset({"header", "metadata"})
"""Only an identity that the client gave opens a memory: a hash of the first words may be two users' own."""


@dataclass(frozen=True, slots=True)
class MemoryPolicy:
    """What one route remembers; `ttl_s` counts from the last turn."""

    ttl_s: float = 3600.0
    max_turns: int = 20
    max_chars: int = 16_000


@dataclass(frozen=True, slots=True)
class Turn:
    """A question and its answer."""

    user: str
    assistant: str

    @property
    def chars(self) -> int:
        """Return its size."""
        return len(self.user) + len(self.assistant)

    def to_dict(self) -> dict[str, str]:
        """Return the JSON form."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Owner:
    """Whose memory it is; there is no way to ask for a conversation without its tenant."""

    tenant: str
    conversation: str

    @property
    def key(self) -> str:
        """Return the key in a store; no two owners have the same one."""
        return hashlib.blake2b(orjson.dumps([self.tenant, self.conversation]), digest_size=20).hexdigest()


class ConversationStore(Protocol):
    """Where turns lie until they expire."""

    async def recall(self, owner: Owner, policy: MemoryPolicy) -> tuple[Turn, ...]:
        """Return the turns, oldest first.

        Raises:
            UnavailableError: the store cannot be asked.
        """
        ...

    async def remember(self, owner: Owner, turn: Turn, policy: MemoryPolicy) -> None:
        """Add a turn and drop what the policy does not keep.

        Raises:
            UnavailableError: the store cannot be asked.
        """
        ...

    async def forget(self, owner: Owner) -> bool:
        """Drop a conversation; False when there was none.

        Raises:
            UnavailableError: the store cannot be asked.
        """
        ...

    async def close(self) -> None:
        """Give connections back."""
        ...


def kept(turns: Sequence[Turn], policy: MemoryPolicy) -> tuple[Turn, ...]:
    """Return the newest turns that the policy keeps, oldest first."""
    found: list[Turn] = []
    chars = 0
    for turn in reversed(turns):
        chars += turn.chars
        if len(found) >= policy.max_turns or chars > policy.max_chars:
            break
        found.append(turn)
    return tuple(reversed(found))


def owner_of(tenant: str, conversation: Conversation) -> Owner | None:
    """Return the owner of a request's memory, None when nobody said which conversation it is."""
    if not tenant or conversation.source not in SURE_SOURCES:
        return None
    return Owner(tenant, conversation.id)


def with_memory(messages: Sequence[Mapping[str, Any]], turns: Sequence[Turn]) -> list[Mapping[str, Any]]:
    """Return the messages with what was said before in front of them, behind the caller's own system message.

    A client that sends answers itself keeps its own history: nothing is added to that.
    """
    if any(message.get("role") == "assistant" for message in messages):
        return list(messages)
    said: list[Mapping[str, Any]] = []
    for turn in turns:
        said += [{"role": "user", "content": turn.user}, {"role": "assistant", "content": turn.assistant}]
    first = next((place for place, item in enumerate(messages) if item.get("role") == "user"), len(messages))
    return [*messages[:first], *said, *messages[first:]]


def turn_of(messages: Sequence[Mapping[str, Any]], answer: str) -> Turn | None:
    """Return the turn that a request and its answer make; None when one of them has no text."""
    question = next((text_of(item.get("content")) for item in reversed(messages) if item.get("role") == "user"), "")
    return Turn(question, answer) if question.strip() and answer.strip() else None
