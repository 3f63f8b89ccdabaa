"""Values of the gateway: its settings, prices, token usage and what an answerer gives back."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Protocol

_PER_TOKENS = 1_000_000


@dataclass(frozen=True, slots=True)
class ModelPrice:
    """USD per million tokens of each part of the partition; without an own price, cache writing costs as input."""

    input_usd: float
    cache_read_usd: float
    output_usd: float
    cache_write_usd: float | None = None


@dataclass(slots=True)
class Usage:
    """Tokens of one request: `uncached` + `cache_read` + `cache_write` is the whole input. Nobody changes it.

    `output` holds the `reasoning` tokens too. `estimated` says that the engine reported none, so one stream event was
    counted as one token.
    """

    uncached: int = 0
    cache_read: int = 0
    output: int = 0
    estimated: bool = False
    cache_write: int = 0
    reasoning: int = 0

    def cost_usd(self, price: ModelPrice | None) -> float:
        """Return what these tokens cost; nothing for a model without a price."""
        if price is None:
            return 0.0
        write_usd = price.input_usd if price.cache_write_usd is None else price.cache_write_usd
        return (
            self.uncached * price.input_usd
            + self.cache_read * price.cache_read_usd
            + self.cache_write * write_usd
            + self.output * price.output_usd
        ) / _PER_TOKENS

    def to_openai(self) -> dict[str, Any]:
        """Return the `usage` object of an OpenAI reply."""
        prompt = self.uncached + self.cache_read + self.cache_write
        return {
            "prompt_tokens": prompt,
            "completion_tokens": self.output,
            "total_tokens": prompt + self.output,
            "prompt_tokens_details": {"cached_tokens": self.cache_read},
        }


class TokenCounter(Protocol):
    """Counts as the model does: `adapters/token_counts` by its own files, `budgeter.EstimatedTokens` without them."""

    def count(self, text: str) -> int:
        """Return the tokens of a text, without those that mark its begin and end."""
        ...


@dataclass(frozen=True, slots=True)
class TokenBudget:
    """What one route may send to its model."""

    max_tokens: int
    counter: TokenCounter


@dataclass(frozen=True, slots=True)
class RouteLimits:
    """Limits of one route in one release; None takes the gateway's own."""

    deadline_s: float | None = None
    first_token_s: float | None = None
    stream_idle_s: float | None = None
    max_input_chars: int | None = None
    max_output_tokens: int | None = None


@dataclass(frozen=True, slots=True)
class AnswerResult:
    """A checked answer.

    `citations` are `{index, document, title, start, end}`; `events` use the names of `core.record`; `tokens_in`
    excludes the `tokens_cached`; `documents` are what the answer rests on.
    """

    text: str
    citations: tuple[dict[str, Any], ...] = ()
    events: tuple[str, ...] = ()
    tokens_in: int = 0
    tokens_cached: int = 0
    tokens_out: int = 0
    model: str = ""
    prompt_version: str = ""
    retrieval_count: int = 0
    documents: tuple[str, ...] = ()
    timings_ms: Mapping[str, float] = field(default_factory=dict)

    def usage(self) -> Usage:
        """Return the tokens as a partition."""
        return Usage(uncached=self.tokens_in, cache_read=self.tokens_cached, output=self.tokens_out)


@dataclass(frozen=True, slots=True)
class GatewaySettings:
    """Everything a worker can be told; the project file maps onto it.

    `question_hash_key` keys the hash of a question in the record; empty
    leaves the hash out. `keep_question` keeps its text until the log line is written. `prices` go by the engine's
    model name. `deployment` is shown by `/version` as it is.
    """

    worker: str = "worker-0"
    max_body_bytes: int = 1 << 20
    max_reply_bytes: int = 16 << 20
    max_input_chars: int = 200_000
    deadline_s: float = 30.0
    llm_deadline_s: float = 60.0
    stream_deadline_s: float = 600.0
    first_token_s: float = 30.0
    stream_idle_s: float = 15.0
    connect_timeout_s: float = 2.0
    max_attempts: int = 3
    retry_share: float = 0.2
    hedge_share: float = 0.0
    hedge_max_tokens: int = 32
    backoff_first_s: float = 0.1
    backoff_cap_s: float = 2.0
    breaker_failures: int = 5
    breaker_open_s: float = 10.0
    breaker_first_s: float = 0.5
    max_active: int = 64
    max_queued: int = 128
    park_s: float = 60.0
    metrics_public: bool = False
    question_hash_key: bytes = b""
    keep_question: bool = False
    prices: Mapping[str, ModelPrice] = field(default_factory=lambda: MappingProxyType({}))
    deployment: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))


@dataclass(frozen=True, slots=True)
class WatchSettings:
    """How the snapshot watcher paces itself."""

    poll_interval_s: float = 0.1
    report_interval_s: float = 1.0
    store_timeout_s: float = 2.0
    load_retry_s: float = 5.0
