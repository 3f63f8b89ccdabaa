"""The token budget of a request: what must go when a prompt is too long. Pure; `relay` calls it.

In this order: the oldest turns, then the lowest-ranked passages. Never the system prompt, never the question nor what
belongs to it. What was dropped is counted, because an answer that lacks it may be worse and somebody must be able to
see that.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from shipway.gateway.model import TokenBudget, TokenCounter
from shipway.gateway.replies import RefusedError
from shipway.gateway.validate import text_of

TRIMMED = "context_trimmed"
"""The event of a request that lost turns or passages to its budget."""
TOKENS_PER_MESSAGE = 8
"""What a chat template puts around a message, at most, in the templates of the models that were looked at."""
TOKENS_PER_IMAGE = 765
"""An image of 1024 x 1024 at high detail. Source: OpenAI's vision guide."""
_CHARS_PER_TOKEN = 4
_FIXED_ROLES = frozenset({"system", "developer"})


class EstimatedTokens:
    """Where the model's own tokenizer is not at hand.

    Four ASCII characters are one token, any other character is one of its own: about right for English, too many for
    every other language, so that an engine is never sent more than it can take.
    """

    def count(self, text: str) -> int:
        """Return the estimate."""
        plain = len(text.encode("ascii", "ignore"))
        return -(-plain // _CHARS_PER_TOKEN) + len(text) - plain


@dataclass(frozen=True, slots=True)
class Fitted:
    """What is sent: `messages` with the turns that stayed, `passages` by rank; `tokens` is their size."""

    messages: tuple[Mapping[str, Any], ...]
    passages: tuple[str, ...]
    tokens: int
    dropped_turns: int = 0
    dropped_messages: int = 0
    dropped_passages: int = 0

    @property
    def is_trimmed(self) -> bool:
        """Return whether anything had to go."""
        return bool(self.dropped_turns or self.dropped_passages)


def fitted(
    messages: Sequence[Mapping[str, Any]],
    *,
    budget: int,
    counter: TokenCounter,
    passages: Sequence[str] = (),
    around: int = 0,
) -> Fitted:
    """Return what fits into `budget` tokens; `passages` come best first, `around` is what else is sent (tools).

    Raises:
        RefusedError: 400 `context_length_exceeded`, system prompt and question alone are too long.
    """
    sizes = [message_tokens(message, counter) for message in messages]
    passage_sizes = [counter.count(passage) for passage in passages]
    turns = _turns(messages)
    total = around + sum(sizes) + sum(passage_sizes)
    gone: set[int] = set()
    dropped_turns = 0
    while total > budget and dropped_turns < len(turns):
        oldest = turns[dropped_turns]
        gone.update(oldest)
        total -= sum(sizes[index] for index in oldest)
        dropped_turns += 1
    kept = len(passages)
    while total > budget and kept:
        kept -= 1
        total -= passage_sizes[kept]
    if total > budget:
        raise too_long(total, budget)
    return Fitted(
        messages=tuple(message for index, message in enumerate(messages) if index not in gone),
        passages=tuple(passages[:kept]),
        tokens=total,
        dropped_turns=dropped_turns,
        dropped_messages=len(gone),
        dropped_passages=len(passages) - kept,
    )


def surely_fits(raw: bytes, budget: TokenBudget) -> bool:
    """Tell without counting whether an encoded request fits.

    No token is shorter than a byte, and what JSON puts around a message is longer than what a chat template does.
    """
    return len(raw) <= budget.max_tokens


def budgeted(body: dict[str, Any], budget: TokenBudget) -> tuple[dict[str, Any], Fitted]:
    """Return the request of a chat or completion endpoint with the messages that fit, and what had to go.

    Raises:
        RefusedError: 400 `context_length_exceeded`.
    """
    messages = body.get("messages")
    tools = body.get("tools")
    around = budget.counter.count(orjson.dumps(tools).decode()) if tools else 0
    if isinstance(messages, list):
        found = fitted(messages, budget=budget.max_tokens, counter=budget.counter, around=around)
        return ({**body, "messages": list(found.messages)} if found.is_trimmed else body), found
    tokens = _prompt_tokens(body.get("prompt"), budget.counter)
    if tokens > budget.max_tokens:
        raise too_long(tokens, budget.max_tokens, param="prompt")
    return body, Fitted((), (), tokens)


def _prompt_tokens(prompt: Any, counter: TokenCounter) -> int:
    """Return the size of the longest prompt of a completion: a text, a list of texts, or tokens."""
    if isinstance(prompt, str):
        return counter.count(prompt)
    if not isinstance(prompt, list):
        return 0
    if all(isinstance(item, int) for item in prompt):
        return len(prompt)
    return max((_prompt_tokens(item, counter) for item in prompt), default=0)


def message_tokens(message: Mapping[str, Any], counter: TokenCounter) -> int:
    """Return the size of a message: its text, its tool calls, a flat charge for an image, and the template's own."""
    content = message.get("content")
    tokens = TOKENS_PER_MESSAGE + counter.count(text_of(content))
    if isinstance(content, list):
        others = [part for part in content if isinstance(part, dict) and part.get("type") != "text"]
        tokens += TOKENS_PER_IMAGE * len(others)
    for name in ("tool_calls", "function_call"):
        if message.get(name):
            tokens += counter.count(orjson.dumps(message[name]).decode())
    return tokens


def too_long(tokens: int, budget: int, *, param: str = "messages") -> RefusedError:
    """Return the refusal of a prompt that cannot be made to fit."""
    message = (
        f"the prompt needs about {tokens} tokens without anything that could be left out, the limit is {budget}; "
        "send a shorter question or system message"
    )
    return RefusedError(400, message, code="context_length_exceeded", param=param)


def _turns(messages: Sequence[Mapping[str, Any]]) -> list[list[int]]:
    """Return what may go, oldest first: whole turns before the last user message, tool calls with their results."""
    last = max((index for index, item in enumerate(messages) if item.get("role") == "user"), default=len(messages))
    turns: list[list[int]] = []
    for index, message in enumerate(messages[:last]):
        role = message.get("role")
        if role in _FIXED_ROLES:
            continue
        if role == "user" or not turns:
            turns.append([])
        turns[-1].append(index)
    return turns
