"""One JSON line for each served request: who asked which release what, how long it took and what it cost.

The gateway calls `write` with each record, after the reply. Nothing in a line is text that a user wrote unless
`logging.question` asks for it; names that a client or an identity provider chose are masked.
"""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Literal

import orjson

from shipway.core.record import ServedRequest
from shipway.telemetry.masking import mask_name, mask_text

QuestionMode = Literal["hash", "mask", "restricted", "omit"]

SHARED_FIELDS = (
    "event", "level", "component", "user_id", "tenant", "route", "release", "is_candidate", "rollout", "model",
    "prompt_version", "snapshot_version", "environment", "worker",
)  # fmt: skip
OWN_FIELDS = (
    "at", "request_id", "question", "conversation", "status", "latency_ms", "ttft_ms", "stream", "tokens_in",
    "tokens_cache_read", "tokens_out", "cost_usd", "error_type", "cache_hit", "retrieval_count", "documents", "sources",
    "events", "trace_id",
)  # fmt: skip
"""A line's fields, in order; the reference page is tested against both."""

_REMEMBERED = 8192
_OWN_CONVERSATIONS = frozenset({"hash", "request", ""})


class RequestLog:
    """Renders lines and hands them on; `append` is the writer's.

    `restricted` takes the lines with questions in the mode `restricted`, where the ordinary line has the hash alone.
    """

    def __init__(
        self,
        append: Callable[[bytes], None],
        *,
        question: QuestionMode = "hash",
        restricted: Callable[[bytes], None] | None = None,
    ) -> None:
        if (question == "restricted") != (restricted is not None):
            raise ValueError("the mode restricted needs a place for the questions, and no other mode has one")
        self._append = append
        self._mode = question
        self._restricted = restricted
        # What decides whether a request serves the candidate is in the key: release and snapshot.
        self._shared: dict[tuple[str | int | None, ...], bytes] = {}
        self._second = -1
        self._date = ""

    @property
    def wants_text(self) -> bool:
        """Return whether `write` has a use for a question's text; else nobody needs to keep it."""
        return self._mode in {"mask", "restricted"}

    def write(self, record: ServedRequest, *, question: str = "", trace_id: str = "") -> None:
        """Write the line of a request."""
        conversation = record.conversation
        if record.conversation_source not in _OWN_CONVERSATIONS:
            conversation = mask_name(conversation)
        asked: str | None = record.question_hash or None
        if self._mode != "hash":
            asked = self._asked(record, question)
        line = orjson.dumps(
            {
                "at": self._at(record.at_s),
                "request_id": record.id,
                "question": asked,
                "conversation": conversation,
                "status": record.status,
                "latency_ms": record.latency_ms,
                "ttft_ms": record.ttft_ms,
                "stream": record.stream,
                "tokens_in": record.tokens_in,
                "tokens_cache_read": record.tokens_cache_read,
                "tokens_out": record.tokens_out,
                "cost_usd": record.cost_usd,
            }
        )
        rest = _NOTHING_ELSE
        told = record.events or record.retrieval_count or record.documents
        if told or record.error_type or record.cache_hit or trace_id:
            rest = _rest(record, trace_id)
        key = (
            record.key_id, record.tenant, record.route, record.release, record.rollout, record.model,
            record.prompt_version, record.snapshot_version,
        )  # fmt: skip
        self._append((self._shared.get(key) or self._begun(key, record)) + line[1:-1] + rest)

    def _begun(self, key: tuple[str | int | None, ...], record: ServedRequest) -> bytes:
        """Return the beginning of a line that all requests of a caller to a release have in common.

        Half of a line is the same for many requests; rendering it once halves the cost of a line.
        """
        route = record.route if record.release else mask_text(record.route)
        values = (
            "request", "info", "shipway.gateway", mask_text(record.key_id), mask_text(record.tenant), route,
            record.release, record.is_candidate, record.rollout, record.model, record.prompt_version,
            record.snapshot_version, record.environment, record.worker,
        )  # fmt: skip
        if len(self._shared) >= _REMEMBERED:
            self._shared.clear()
        begun = orjson.dumps(dict(zip(SHARED_FIELDS, values, strict=True)))[:-1] + b","
        self._shared[key] = begun
        return begun

    def _asked(self, record: ServedRequest, question: str) -> str | None:
        """Return what a line shows of the question in the modes other than `hash`."""
        if self._mode == "mask":
            return mask_text(question) or None
        if self._restricted is None:
            return None
        if question:
            line = {"at": self._at(record.at_s), "request_id": record.id, "question": question}
            self._restricted(orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE))
        return record.question_hash or None

    def _at(self, at_s: float) -> str:
        second = int(at_s)
        if second != self._second:
            self._second = second
            self._date = datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S")
        return f"{self._date}.{int((at_s - second) * 1000):03d}Z"


def _rest(record: ServedRequest, trace_id: str) -> bytes:
    """Return the end of a line, of which most requests have nothing to say."""
    documents = [mask_name(name) for name in record.documents]
    fields = {
        "error_type": record.error_type,
        "cache_hit": record.cache_hit != "",
        "retrieval_count": record.retrieval_count,
        "documents": documents,
        "sources": documents,
        "events": record.events,
        "trace_id": trace_id,
    }
    return b"," + orjson.dumps(fields, option=orjson.OPT_APPEND_NEWLINE)[1:]


_NOTHING_ELSE = (
    b',"error_type":"","cache_hit":false,"retrieval_count":0,"documents":[],"sources":[],"events":[],"trace_id":""}\n'
)
