"""An app that is ready, as facts; tests take one thing away, or put something that looks like it in its place."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from shipway.config.loading import LoadedProject
from shipway.config.project import Project
from shipway.config.yaml_source import parse_yaml
from shipway.core.ports import AuditEvent
from shipway.readiness.facts import (
    Answer,
    DatasetFacts,
    Facts,
    GitFacts,
    LogFacts,
    LogLine,
    Repository,
    ServiceFacts,
    StoreFacts,
)

NOW_S = 1_800_000_000.0
SETTINGS = """app: shop
models:
  main:
    engine: openai
    model: gpt-4o-2024-08-06
    base_url: "https://api.openai.com/v1"
    api_key: { env: OPENAI_KEY }
    price: { input: 2, output: 8 }
  other: { engine: vllm, model: small, base_url: "http://engine:8000/v1", max_ctx: 4096 }
prompts:
  answer: prompts/answer.yaml
  chat: prompts/chat.yaml
routes:
  ask: { kind: rag, model: main, prompt: answer }
  chat: { kind: chat, model: main, prompt: chat }
corpus:
  root: library
  sources: [{ path: "**", tenant: default, groups: [public] }]
routing:
  fallbacks: { main: [other] }
  rules: [{ min_complexity: 0.6, to: main }]
cache: { routes: { chat: {} } }
rates: { per_key_min: 60, tokens_per_min: 20000 }
budgets: { daily_usd: 50 }
evals: { dataset: evals/cases.jsonl, repeats: 3, smoke: evals/smoke.yaml, judge: strict }
judges: { strict: { kind: llm, model: other } }
gates:
  - { metric: recall_at_5, min: 0.8 }
  - { metric: supported, min: 0.85 }
  - { metric: hallucination, max: 0.05 }
rollout:
  strategy: canary
  steps: [{ weight: 0.1, shadow: 0.1 }, { weight: 1.0 }]
telemetry: { traces: { exporter: otlp, endpoint: "http://traces:4318/v1/traces", ratio: 0.01 } }
quality: { sample: 0.05 }
contacts: [{ who: On call, how: "#oncall" }]
logging: { question: hash }
pipeline:
  unit: { run: [python, -m, pytest, tests/unit] }
  gate: { uses: evaluate, needs: [unit] }
"""
DOCKERFILE = """# syntax=docker/dockerfile:1
ARG PYTHON=3.12
FROM python:${PYTHON}-slim AS build
RUN pip install --target /app shop
FROM python:3.12-slim
COPY --from=build /app /app
ENV MODE=production
USER 10001
HEALTHCHECK --interval=10s CMD ["python", "-m", "shop.health"]
CMD ["shipway", "serve"]
"""
WORKFLOW = """name: ci
on:
  pull_request:
  push:
    branches: [main]
jobs:
  test:
    runs-on: ubuntu-latest
    steps:
      - uses: actions/checkout@v4
      - run: |
          ruff check .
          pytest tests/unit
      - run: pytest tests/integration
      - run: shipway pipeline run
      - run: docker build -t shop .
  deploy:
    if: github.event_name == 'push'
    needs: [test]
    runs-on: ubuntu-latest
    steps:
      - run: shipway deploy "$RELEASE" --wait
"""
SMOKE = """- name: cites
  kind: citation
  prompt: How long?
  document: loans.md
"""
CODE = """def split_chunks(text):
    return text.split()


def render_prompt(question):
    return question


def validate_schema(value):
    return value


def total_cost(tokens):
    return tokens


def normalise(text):
    return text
"""
UNIT = """from shop.parts import normalise, render_prompt, split_chunks, total_cost, validate_schema


def test_chunks():
    assert split_chunks("a b") == ["a", "b"]


def test_prompt():
    assert render_prompt("a") == "a"


def test_schema():
    assert validate_schema(1) == 1


def test_cost():
    assert total_cost(1) == 1


def test_normalise():
    assert normalise("a") == "a"
"""
INTEGRATION = """def test_a_cached_answer_comes_from_the_api(client):
    assert client.post("/v1/chat/completions").headers["x-shipway-cache"] == "hit"
"""
ALERTS = """groups:
  - name: shop
    rules:
      - alert: Errors
        expr: sum(rate(shipway_requests_total{status_class="5xx"}[5m])) > 0.01
      - alert: Slow
        expr: histogram_quantile(0.95, sum by (le) (rate(shipway_ttft_seconds_bucket[5m]))) > 2.5
      - alert: Cost
        expr: sum(rate(shipway_cost_usd_total[1h])) * 24 > 50
      - alert: Engine
        expr: max(shipway_breaker_state) == 2
"""
QUERIES = (
    "histogram_quantile(0.5, rate(shipway_request_duration_seconds_bucket[5m]))",
    "histogram_quantile(0.95, rate(shipway_request_duration_seconds_bucket[5m]))",
    'sum(rate(shipway_requests_total{status_class="5xx"}[5m]))',
    "sum(rate(shipway_output_tokens_per_second_sum[5m]))",
    "sum(shipway_queue_depth)",
    'sum(rate(shipway_events_total{event="unsupported"}[1h]))',
    "sum(rate(shipway_cost_usd_total[1h]))",
)
DASHBOARD = json.dumps({"panels": [{"title": "all", "targets": [{"expr": query} for query in QUERIES]}]})
MANIFESTS = """apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: { name: shop }
spec:
  minReplicas: 2
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata:
  name: shop
  annotations: { nginx.ingress.kubernetes.io/force-ssl-redirect: "true" }
spec:
  tls: [{ hosts: [shop.example.com], secretName: shop }]
---
apiVersion: external-secrets.io/v1
kind: ExternalSecret
metadata: { name: shop }
---
apiVersion: apps/v1
kind: Deployment
metadata: { name: shop }
spec:
  template:
    spec:
      containers:
        - name: shop
          env:
            - name: OPENAI_KEY
              valueFrom: { secretKeyRef: { name: shop, key: openai } }
"""
README = """# Shop

- [Latency](runbooks/latency.md)
- [Safety](runbooks/safety.md)
- [Rolling back](runbooks/rollback.md)
- [Stale index](runbooks/stale-index.md)
"""


def runbook(title: str, command: str) -> str:
    return f"# {title}\n\n```sh\n{command}\n```\n"


FILES: dict[str, str] = {
    "Dockerfile": DOCKERFILE,
    ".dockerignore": ".env\n.git\n**/__pycache__\nvenv\n.venv\n**/*.pyc\n",
    ".github/workflows/ci.yml": WORKFLOW,
    "evals/smoke.yaml": SMOKE,
    "prompts/answer.yaml": "name: answer\n",
    "prompts/chat.yaml": "name: chat\n",
    "src/shop/parts.py": CODE,
    "tests/unit/test_parts.py": UNIT,
    "tests/integration/test_api.py": INTEGRATION,
    "monitoring/alerts.yaml": ALERTS,
    "monitoring/dashboard.json": DASHBOARD,
    "deploy/shop.yaml": MANIFESTS,
    "README.md": README,
    "runbooks/latency.md": runbook("Latency", "shipway status"),
    "runbooks/safety.md": runbook("Safety", "shipway switch list"),
    "runbooks/rollback.md": runbook("Rollback", "shipway rollback --wait"),
    "runbooks/stale-index.md": runbook("Stale index", "shipway rag build"),
}
METRICS = "\n".join(
    f"# TYPE {name} counter\n{name}_total 1"
    for name in ("shipway_tokens", "shipway_cost_usd", "shipway_cache_hits", "shipway_requests")
)
METRICS += "\n# TYPE shipway_breaker_state gauge\nshipway_breaker_state 0\n"


def said(status: int, body: str = '{"error": {"message": "no"}}', **headers: str) -> Answer:
    return Answer(status, {name.replace("_", "-"): value for name, value in headers.items()}, body)


ANSWERS: dict[str, Answer] = {
    "GET /health": said(200, "{}"),
    "GET /ready": said(200, '{"status":"ready"}', x_request_id="r"),
    "GET /no-such-page": said(404),
    "GET /metrics": said(401),
    "GET /version": said(401),
    "GET /v1/models": said(401),
    "POST /v1/chat/completions {}": said(401),
    "POST /v1/feedback {}": said(401),
    "GET models of other": said(200, '{"data": [{"id": "small", "max_model_len": 4096}]}'),
    "GET /metrics +key": said(200, METRICS),
    "POST /v1/chat/completions {} +key": said(400),
    "POST /v1/feedback {} +key": said(400),
    "POST /generate {} +key": said(400),
    "POST /rag_answer {} +key": said(422),
    "POST /no-such-page +key": said(404),
    "POST /v1/chat/completions stream +key": said(
        200, "data: {}\n\ndata: [DONE]\n\n", content_type="text/event-stream"
    ),
    "POST /rag_answer +key": said(200, '{"answer": "7 days", "citations": [{"document": "loans.md"}]}'),
}
REQUEST = {
    "event": "request",
    "request_id": "r",
    "model": "m",
    "tokens_in": 1,
    "tokens_out": 1,
    "cost_usd": 0.1,
    "latency_ms": 5,
    "question": "kh:0",
}
EVENTS = (
    AuditEvent(NOW_S - 100, "user:a", "rollback.started", "rel_1", seq=1),
    AuditEvent(NOW_S - 99, "user:a", "rollback.completed", "rel_1", seq=2),
)
GIT = GitFacts(
    "c" * 40,
    "",
    frozenset({*FILES, "shipway.yaml"}),
    frozenset(),
    frozenset({".env"}),
    dict.fromkeys(("prompts/answer.yaml", "prompts/chat.yaml"), ("abc 2026-01-01 A: why",)),
)
STORE = StoreFacts("production", EVENTS, (), "rel_1", "sha256:1", "sha256:1", 3, 2, 5)

CASES = DatasetFacts("evals/cases.jsonl", 60, 55)


@dataclass(frozen=True)
class App:
    """What facts are made of."""

    files: Mapping[str, str] = field(default_factory=lambda: dict(FILES))
    settings: str = SETTINGS
    git: GitFacts = GIT
    dataset: DatasetFacts = CASES
    store: StoreFacts = STORE
    lines: tuple[str, ...] = (json.dumps(REQUEST),)
    answers: Mapping[str, Answer] = field(default_factory=lambda: dict(ANSWERS))
    url: str = "https://shop.example.com"
    has_key: bool = True

    def facts(self) -> Facts:
        texts = {**self.files, "shipway.yaml": self.settings}
        return Facts(
            repository=Repository(frozenset(texts), texts),
            git=self.git,
            settings=loaded(self.settings),
            dataset=self.dataset,
            store=self.store,
            logs=LogFacts(
                tuple(LogLine(f"gateway.log:{at}", text, parsed(text)) for at, text in enumerate(self.lines))
            ),
            service=ServiceFacts(self.url, self.answers, self.has_key),
            now_s=NOW_S,
        )


def parsed(text: str) -> dict[str, Any] | None:
    try:
        return json.loads(text)
    except ValueError:
        return None


def loaded(text: str) -> LoadedProject:
    source = parse_yaml(text, "shipway.yaml")
    return LoadedProject(Path(), "local", Project.model_validate(source.data), source.places)


Change = Callable[[App], App]


def file(path: str, text: str | None) -> Change:
    """Return a change that writes a file, or removes it."""

    def change(app: App) -> App:
        files = {name: held for name, held in app.files.items() if name != path}
        return replace(app, files=files if text is None else {**files, path: text})

    return change


def edit(path: str, before: str, after: str) -> Change:
    """Return a change inside a file."""

    def change(app: App) -> App:
        assert before in app.files[path], f"{path} has no {before!r}"
        return file(path, app.files[path].replace(before, after))(app)

    return change


def setting(before: str, after: str) -> Change:
    """Return a change in shipway.yaml."""

    def change(app: App) -> App:
        assert before in app.settings, f"shipway.yaml has no {before!r}"
        return replace(app, settings=app.settings.replace(before, after))

    return change


def answer(request: str, found: Answer | None) -> Change:
    """Return a change of one answer of the service; None for no answer."""

    def change(app: App) -> App:
        kept = {name: held for name, held in app.answers.items() if name != request}
        return replace(app, answers=kept if found is None else {**kept, request: found})

    return change


def store(**changed: Any) -> Change:
    return lambda app: replace(app, store=replace(app.store, **changed))


def git(**changed: Any) -> Change:
    return lambda app: replace(app, git=replace(app.git, **changed))


def has(**changed: Any) -> Change:
    return lambda app: replace(app, **changed)


def both(*changes: Change) -> Change:
    def change(app: App) -> App:
        for one in changes:
            app = one(app)
        return app

    return change


CI = ".github/workflows/ci.yml"
OWN = "chat: { kind: http, command: [python, app.py] }"
HTTP = both(
    setting("chat: { kind: chat, model: main, prompt: chat }", OWN), setting("cache: { routes: { chat: {} } }\n", "")
)
