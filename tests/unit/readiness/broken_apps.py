"""For every check an app of which it does not hold."""

import json

from tests.unit.readiness.ready_app import (
    CI,
    DASHBOARD,
    HTTP,
    METRICS,
    NOW_S,
    REQUEST,
    Change,
    answer,
    both,
    edit,
    file,
    git,
    has,
    said,
    setting,
    store,
)

from shipway.core.ports import AuditEvent
from shipway.readiness.facts import DatasetFacts
from shipway.readiness.model import State

FAIL, UNKNOWN, PASS = State.FAIL, State.NOT_CHECKED, State.PASS
Case = tuple[str, Change, State]


BROKEN: list[Case] = [
    ("APP-1", answer("GET /health", said(503)), FAIL),
    ("APP-2", answer("GET /ready", said(503, '{"missing": ["store"]}')), FAIL),
    ("APP-3", file("src/shop/keys.py", 'OPENAI = "sk-' + "a" * 30 + '"\n'), FAIL),
    ("APP-4", answer("POST /v1/chat/completions {} +key", said(200)), FAIL),
    ("APP-5", setting("per_key_min: 60", "per_key_min: 1000000"), FAIL),
    ("APP-6", setting("logging:", "server: { llm_timeout_s: 3600 }\nlogging:"), FAIL),
    ("APP-7", setting("logging:", "server: { drain_s: 0 }\nlogging:"), FAIL),
    ("APP-8", answer("GET /no-such-page", said(500, '"message" Traceback (most recent call last)')), FAIL),
    ("DOCKER-1", edit("Dockerfile", "USER 10001\n", ""), FAIL),
    ("DOCKER-2", file(".dockerignore", None), FAIL),
    ("DOCKER-3", edit("Dockerfile", "FROM python:3.12-slim\n", "FROM python\n"), FAIL),
    ("DOCKER-4", edit("Dockerfile", 'HEALTHCHECK --interval=10s CMD ["python", "-m", "shop.health"]\n', ""), FAIL),
    ("DOCKER-5", file("Dockerfile", None), FAIL),
    ("DOCKER-6", edit("Dockerfile", "USER 10001", "USER 10001\nVOLUME /data"), FAIL),
    ("CICD-1", edit(CI, "ruff check .", "true"), FAIL),
    ("CICD-2", edit(CI, "pytest tests/integration", "true"), FAIL),
    ("CICD-3", edit(CI, "shipway pipeline run", "true"), FAIL),
    ("CICD-4", edit(CI, "docker build -t shop .", "true"), FAIL),
    ("CICD-5", edit(CI, 'shipway deploy "$RELEASE" --wait', "true"), FAIL),
    ("CICD-6", setting("strategy: canary", "strategy: blue-green"), FAIL),
    ("CICD-7", file("runbooks/rollback.md", None), FAIL),
    (
        "CICD-8",
        both(
            setting("  - { metric: supported, min: 0.85 }\n", ""),
            setting("  - { metric: hallucination, max: 0.05 }\n", ""),
        ),
        FAIL,
    ),
    (
        "CICD-9",
        store(
            events=(
                AuditEvent(NOW_S - 900, "a", "rollback.started", "r"),
                AuditEvent(NOW_S, "a", "rollback.completed", "r"),
            )
        ),
        FAIL,
    ),
    ("CICD-10", setting("gpt-4o-2024-08-06", "gpt-4o-latest"), FAIL),
    ("CICD-11", edit(CI, "shipway pipeline run", "true"), FAIL),
    ("CICD-12", git(changed=frozenset({"prompts/chat.yaml"})), FAIL),
    ("CICD-13", setting(", shadow: 0.1", ""), FAIL),
    ("TEST-1", edit("tests/unit/test_parts.py", "    assert total_cost(1) == 1\n", "    total_cost(1)\n"), FAIL),
    (
        "TEST-2",
        both(
            file("evals/smoke.yaml", "- name: counted\n  kind: counters\n"), file("tests/integration/test_api.py", None)
        ),
        FAIL,
    ),
    ("TEST-3", has(dataset=DatasetFacts("c", 49, 49)), FAIL),
    ("TEST-4", setting("metric: supported, min: 0.85", "metric: supported, min: 0.6"), FAIL),
    ("TEST-6", setting("repeats: 3", "repeats: 1"), FAIL),
    ("MON-1", has(lines=(json.dumps({"event": "request", "request_id": "r"}),)), FAIL),
    (
        "MON-2",
        file("monitoring/dashboard.json", '{"panels": [{"targets": [{"expr": "shipway_requests_total"}]}]}'),
        FAIL,
    ),
    ("MON-3", answer("GET /metrics +key", said(200, METRICS.replace("shipway_tokens", "words"))), FAIL),
    ("MON-4", setting('exporter: otlp, endpoint: "http://traces:4318/v1/traces"', "exporter: none"), FAIL),
    ("MON-5", edit("monitoring/alerts.yaml", "max(shipway_breaker_state) == 2", "up == 0"), FAIL),
    ("MON-6", setting("budgets: { daily_usd: 50 }\n", ""), FAIL),
    ("MON-7", both(store(feedback=0), answer("POST /v1/feedback {} +key", said(404))), FAIL),
    ("MON-8", setting('contacts: [{ who: On call, how: "#oncall" }]\n', ""), FAIL),
    ("MON-9", setting("quality: { sample: 0.05 }\n", ""), FAIL),
    ("SEC-1", file("deploy/shop.yaml", None), UNKNOWN),
    ("SEC-4", has(lines=(json.dumps({**REQUEST, "question": "mail me at ann@example.org"}),)), FAIL),
    ("SEC-4", has(lines=(json.dumps({**REQUEST, "question": "my account is DE89 3704 0044 0532 0130 00"}),)), FAIL),
    (
        "SEC-5",
        edit("deploy/shop.yaml", "  tls: [{ hosts: [shop.example.com], secretName: shop }]", "  rules: []"),
        FAIL,
    ),
    ("SEC-6", answer("GET /metrics", said(200, METRICS)), FAIL),
    ("SEC-7", both(setting(", tokens_per_min: 20000", ""), setting("budgets: { daily_usd: 50 }\n", "")), FAIL),
    ("SEC-8", git(tracked=frozenset({".env"})), FAIL),
    ("REL-1", edit("deploy/shop.yaml", "minReplicas: 2", "minReplicas: 1"), FAIL),
    ("REL-2", setting("  fallbacks: { main: [other] }\n", ""), FAIL),
    ("REL-3", setting("routing:\n", "routing:\n  retries: { attempts: 1 }\n"), FAIL),
    ("REL-4", answer("GET /metrics +key", said(200, METRICS.replace("shipway_breaker_state", "other"))), FAIL),
    ("REL-5", file("src/shop/db.py", "import psycopg\ndef ask():\n    return psycopg.connect('x')\n"), FAIL),
    ("REL-6", setting("routing:\n", "routing:\n  retries: { attempts: 1 }\n"), FAIL),
    ("REL-7", store(corpus=""), UNKNOWN),
    ("REL-8", HTTP, UNKNOWN),
    ("REL-10", setting("  rules: [{ min_complexity: 0.6, to: main }]\n", ""), FAIL),
    ("LIVE-1", answer("GET models of other", said(200, '{"data": [{"id": "small", "max_model_len": 2048}]}')), FAIL),
    ("LIVE-2", setting("engine: vllm", "engine: trtllm"), UNKNOWN),
    (
        "LIVE-3",
        answer("POST /v1/chat/completions stream +key", said(200, "data: {}\n", content_type="text/event-stream")),
        FAIL,
    ),
    ("LIVE-4", setting("question: hash", "question: mask"), FAIL),
    ("LIVE-5", store(refused=0), UNKNOWN),
    ("LIVE-6", answer("POST /rag_answer +key", said(200, '{"answer": "7", "citations": []}')), FAIL),
    ("LIVE-7", HTTP, UNKNOWN),
    ("LIVE-8", file("monitoring/dashboard.json", DASHBOARD.replace("shipway_queue_depth", "up")), FAIL),
    ("LIVE-9", setting("weight: 0.1", "weight: 0.5"), FAIL),
    ("LIVE-10", edit("README.md", "- [Safety](runbooks/safety.md)\n", ""), FAIL),
]
