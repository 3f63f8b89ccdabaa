"""Makes the spans of a finished request from its record: one for the request, one for each of its stages.

`telemetry.export` calls it in its thread. Prompts, answers and questions are never in a span; names that a client chose
are masked.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from types import MappingProxyType
from urllib.parse import urlsplit

from shipway.core.record import ServedRequest
from shipway.telemetry.masking import mask_name, mask_text
from shipway.telemetry.otlp import CLIENT, INTERNAL, SERVER, Attribute, FixedAttributes, Span
from shipway.telemetry.tracing import RequestTrace, Stage

SCHEMA_1_41 = "https://opentelemetry.io/schemas/1.41.0"
_SERVER_ERROR = 500
_HTTPS = 443
_HTTP = 80
_CALLS = frozenset({"generation", "service"})
_SECONDS_NS = 1_000_000_000

_OPERATION = {
    "/v1/chat/completions": "chat",
    "/v1/completions": "text_completion",
    "/v1/embeddings": "embeddings",
    "/v1/rerank": "rerank",
    "/v1/responses": "chat",
    "/generate": "chat",
    "/rag_answer": "chat",
}


@dataclass(frozen=True, slots=True)
class Conventions:
    """The attribute names that differ between versions of the GenAI semantic conventions."""

    schema_url: str
    cache_write: str
    prompt_version: str


CONVENTIONS = {
    "1.41": Conventions(SCHEMA_1_41, "gen_ai.usage.cache_creation.input_tokens", "shipway.prompt.version"),
    # The conventions have a repository of their own since 1.42; there is no schema file of theirs to name yet.
    "latest": Conventions("", "gen_ai.usage.cache_write.input_tokens", "gen_ai.prompt.version"),
}


@dataclass(frozen=True, slots=True)
class SpanMaker:
    """Makes spans; `providers` are the engines' kinds by the engine's name of the model."""

    conventions: Conventions
    providers: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))

    def spans(self, record: ServedRequest, trace: RequestTrace) -> list[Span]:
        """Return the request's span and those of its stages, in order."""
        start_ns = int(trace.at_s * _SECONDS_NS)
        found = [self._request(record, trace, start_ns)]
        stages = trace.stages
        if not any(stage.name == "generation" for stage in stages) and trace.engine_start_ms is not None:
            end_ms = record.latency_ms if trace.engine_end_ms is None else trace.engine_end_ms
            name = "generation" if record.model else "service"
            stages = [*stages, Stage(name, trace.engine_start_ms, max(0.0, end_ms - trace.engine_start_ms))]
        for number, stage in enumerate(stages):
            found.append(self._stage(record, trace, stage, start_ns, number))
        return found

    def _request(self, record: ServedRequest, trace: RequestTrace, start_ns: int) -> Span:
        route = record.route if record.release else mask_name(record.route)
        own: dict[str, Attribute] = {
            "shipway.request.id": record.id,
            "shipway.cost_usd": float(record.cost_usd),
        }
        if record.conversation:
            own["gen_ai.conversation.id"] = mask_name(record.conversation)
        if record.events:
            own["shipway.events"] = tuple(record.events)
        if record.error_type:
            own["error.type"] = record.error_type
        failed = record.status >= _SERVER_ERROR
        return Span(
            f"{trace.method} {trace.path}", SERVER, trace.trace_id, trace.span_id, trace.parent_id, start_ns,
            start_ns + int(record.latency_ms * 1e6), own,
            error=(record.error_type or str(record.status)) if failed else "", remote_parent=bool(trace.parent_id),
            shared=_of_request(
                (trace.method, trace.path, record.status), (route, record.release, record.is_candidate),
                (record.tenant, record.key_id), record.rollout or "", record.worker,
            ),
        )  # fmt: skip

    def _stage(self, record: ServedRequest, trace: RequestTrace, stage: Stage, begun_ns: int, number: int) -> Span:
        start_ns = begun_ns + int(stage.start_ms * 1e6)
        span_id = trace.engine_id if stage.name in _CALLS else _child_id(trace.span_id, number)
        kind, name, error, shared = INTERNAL, stage.name, "", _of_stage(stage.name)
        attributes: dict[str, Attribute] = {}
        match stage.name:
            case "generation":
                kind, error = CLIENT, record.error_type if record.status >= _SERVER_ERROR else ""
                operation = _OPERATION.get(trace.path, "chat")
                name = f"{operation} {record.model}".rstrip()
                attributes = self._generation(record, trace)
                shared = self._of_engine(record, trace, operation)
            case "service":
                kind, error = CLIENT, record.error_type if record.status >= _SERVER_ERROR else ""
                name, shared = f"{trace.method} {record.route}", _of_service(trace.method, trace.engine_url)
                attributes["http.response.status_code"] = record.status
            case "search":
                attributes["shipway.retrieval.count"] = record.retrieval_count
                if record.documents:
                    attributes["shipway.retrieval.documents"] = tuple(map(mask_name, record.documents))
            case _:
                pass
        return Span(
            name, kind, trace.trace_id, span_id, trace.span_id, start_ns, start_ns + int(stage.duration_ms * 1e6),
            attributes, error=error, shared=shared,
        )  # fmt: skip

    def _generation(self, record: ServedRequest, trace: RequestTrace) -> dict[str, Attribute]:
        own: dict[str, Attribute] = {
            # The conventions count cached tokens among the input; ours are a partition.
            "gen_ai.usage.input_tokens": record.tokens_in + record.tokens_cache_read,
            "gen_ai.usage.output_tokens": record.tokens_out,
            "shipway.cost_usd": float(record.cost_usd),
        }
        if record.tokens_cache_read:
            own["gen_ai.usage.cache_read.input_tokens"] = record.tokens_cache_read
        if record.conversation:
            own["gen_ai.conversation.id"] = mask_name(record.conversation)
        if record.stream and record.ttft_ms is not None:
            after_ms = record.ttft_ms - (trace.engine_start_ms or 0.0)
            own["gen_ai.response.time_to_first_chunk"] = max(0.0, after_ms) / 1000
        if record.error_type:
            own["error.type"] = record.error_type
        return own

    def _of_engine(self, record: ServedRequest, trace: RequestTrace, operation: str) -> FixedAttributes:
        provider = self.providers.get(record.model, "openai")
        prompt = (self.conventions.prompt_version, record.prompt_version)
        return _of_engine(operation, provider, record.model, prompt, trace.engine_url, stream=record.stream)


@lru_cache(2048)
def _of_request(
    http: tuple[str, str, int], release: tuple[str, str, bool], caller: tuple[str, str], rollout: str, worker: str
) -> FixedAttributes:
    attributes: dict[str, Attribute] = {
        "http.request.method": http[0],
        "http.route": http[1],
        "http.response.status_code": http[2],
        "shipway.route": release[0],
        "shipway.release": release[1],
        "shipway.candidate": release[2],
        "shipway.tenant": mask_text(caller[0]),
        "shipway.key.id": mask_text(caller[1]),
        "shipway.worker": worker,
    }
    if rollout:
        attributes["shipway.rollout"] = rollout
    return FixedAttributes(attributes)


@lru_cache(256)
def _of_service(method: str, url: str) -> FixedAttributes:
    host, port = _address(url)
    return FixedAttributes(
        {"shipway.stage": "service", "http.request.method": method, "server.address": host, "server.port": port}
    )


@lru_cache(16)
def _of_stage(name: str) -> FixedAttributes:
    operation = {"embedding": "embeddings", "search": "retrieval"}.get(name)
    named = {"gen_ai.operation.name": operation} if operation else {}
    return FixedAttributes({"shipway.stage": name, **named})


@lru_cache(512)
def _of_engine(
    operation: str, provider: str, model: str, prompt: tuple[str, str], url: str, *, stream: bool
) -> FixedAttributes:
    attributes: dict[str, Attribute] = {
        "shipway.stage": "generation",
        "gen_ai.operation.name": operation,
        "gen_ai.provider.name": provider,
        "gen_ai.request.model": model,
        "gen_ai.response.model": model,
        "gen_ai.request.stream": stream,
    }
    if prompt[1]:
        attributes[prompt[0]] = prompt[1]
    if url:
        attributes["server.address"], attributes["server.port"] = _address(url)
    return FixedAttributes(attributes)


def _address(url: str) -> tuple[str, int]:
    parts = urlsplit(url)
    return parts.hostname or "", parts.port or (_HTTPS if parts.scheme == "https" else _HTTP)


def _child_id(parent_id: str, number: int) -> str:
    """Return the id of a request's n-th stage: unique in the trace, as the parent's is random."""
    return f"{((int(parent_id, 16) + number + 1) & 0xFFFFFFFFFFFFFFFF) or 1:016x}"
