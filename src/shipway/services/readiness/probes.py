"""Asking the running service a few short questions; one of them, with a key, is answered by a model.

Nothing here changes anything. Without a key only what everybody may send is sent.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import urlsplit

from shipway.config.project import Project
from shipway.core.errors import DeadlineError, UnavailableError, UsageError
from shipway.evals.ports import HttpCall, JsonCaller
from shipway.readiness.facts import Answer, ServiceFacts
from shipway.services.api_contracts import base_url

_TIMEOUT_S = 10.0
_MODEL_TIMEOUT_S = 60.0
_LARGEST_BODY_BYTES = 2_000_000
_JSON = ("content-type", "application/json")
_MAX_TOKENS = 8


@dataclass(frozen=True, slots=True)
class ProbePlan:
    """Where to ask, with which key, and a question that the documents answer."""

    url: str
    key: str = ""
    question: str = "What do you know?"


async def probe_service(caller: JsonCaller, plan: ProbePlan, project: Project | None) -> ServiceFacts:
    """Ask everything once.

    Raises:
        UsageError: the address is none, or the key would travel unprotected.
    """
    address = base_url(plan.url)
    parts = urlsplit(address)
    if plan.key and parts.scheme == "http" and parts.hostname not in {"127.0.0.1", "localhost", "::1"}:
        raise UsageError(
            f"the key would travel to {address} in clear text", hint="name an https address, or leave the key"
        )
    answers: dict[str, Answer] = {}
    for name, call in _calls(address, plan, project):
        found = await _asked(caller, call)
        if found is not None:
            answers[name] = found
    return ServiceFacts(address, answers, bool(plan.key))


async def _asked(caller: JsonCaller, call: HttpCall) -> Answer | None:
    try:
        reply = await caller.call(call)
    except (DeadlineError, UnavailableError):
        return None
    return Answer(reply.status, dict(reply.headers), reply.body.decode(errors="replace"))


def _calls(address: str, plan: ProbePlan, project: Project | None) -> Iterator[tuple[str, HttpCall]]:
    open_to_all = ("/health", "/ready", "/no-such-page", "/metrics", "/version", "/v1/models")
    for path in open_to_all:
        yield f"GET {path}", _get(address + path)
    for path in ("/v1/chat/completions", "/v1/feedback"):
        yield f"POST {path} {{}}", _post(address + path, {})
    for name, route in project.routes.items() if project is not None else ():
        if route.kind == "http":
            yield f"GET /svc/{name}/", _get(f"{address}/svc/{name}/")
    if address.startswith("https://"):
        yield "GET / over plain http", _get(f"http://{urlsplit(address).hostname}/")
    for name, entry in project.models.items() if project is not None else ():
        if entry.engine in {"vllm", "trtllm"} and entry.base_url:
            yield f"GET models of {name}", _get(f"{entry.base_url.rstrip('/')}/models")
    if plan.key:
        yield from _calls_with_key(address, plan, project)


def _calls_with_key(address: str, plan: ProbePlan, project: Project | None) -> Iterator[tuple[str, HttpCall]]:
    yield "GET /metrics +key", _get(f"{address}/metrics", plan.key)
    for path in ("/v1/chat/completions", "/generate", "/v1/feedback", "/rag_answer"):
        yield f"POST {path} {{}} +key", _post(address + path, {}, plan.key)
    yield "POST /no-such-page +key", _post(f"{address}/no-such-page", {}, plan.key)
    routes = project.routes if project is not None else {}
    chat = next((name for kind in ("chat", "rag") for name, route in routes.items() if route.kind == kind), "")
    if chat:
        said = [{"role": "user", "content": plan.question}]
        body = {"model": chat, "messages": said, "max_tokens": _MAX_TOKENS, "stream": True}
        name = "POST /v1/chat/completions stream +key"
        yield name, _post(f"{address}/v1/chat/completions", body, plan.key, _MODEL_TIMEOUT_S)
    if any(route.kind == "rag" for route in routes.values()):
        body = {"question": plan.question}
        yield "POST /rag_answer +key", _post(f"{address}/rag_answer", body, plan.key, _MODEL_TIMEOUT_S)


def _get(url: str, key: str = "") -> HttpCall:
    return HttpCall("GET", url, _headers(key), b"", _TIMEOUT_S, _LARGEST_BODY_BYTES)


def _post(url: str, body: object, key: str = "", timeout_s: float = _TIMEOUT_S) -> HttpCall:
    data = json.dumps(body).encode()
    return HttpCall("POST", url, (_JSON, *_headers(key)), data, timeout_s, _LARGEST_BODY_BYTES)


def _headers(key: str) -> tuple[tuple[str, str], ...]:
    return (("authorization", f"Bearer {key}"),) if key else ()
