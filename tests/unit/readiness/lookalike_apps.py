"""For every check an app that only looks as if it held."""

import json

from tests.unit.readiness.ready_app import (
    ALERTS,
    CI,
    DASHBOARD,
    DOCKERFILE,
    HTTP,
    MANIFESTS,
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


HANDLER = """from fastapi import FastAPI
from pydantic import BaseModel
app = FastAPI()
class Question(BaseModel):
    text: str
@app.post("/classify")
async def classify(question: Question): ...
"""
LOOSE = HANDLER.replace("question: Question", "question: dict")


def heredoc(text: str) -> Change:
    return file("Dockerfile", DOCKERFILE.replace("USER 10001", f"RUN <<EOF\n{text}\nEOF"))


OWN_ALONE = "app: own\nroutes: { own: { kind: http, url: 'http://own:8000' } }\n"
OF_OWN_SERVICES = (
    *("CICD-10", "CICD-12", "TEST-1", "SEC-1", "LIVE-1", "LIVE-2", "LIVE-6", "LIVE-7"),
    *("REL-2", "REL-3", "REL-4", "REL-5", "REL-6", "REL-7", "REL-8", "REL-10"),
)
LOOKALIKES: list[Case] = [
    ("APP-1", answer("GET /no-such-page", said(200)), FAIL),
    ("APP-2", answer("GET /ready", said(200, "ok")), UNKNOWN),
    ("APP-3", file("src/shop/keys.py", 'DB_PASSWORD = "correct horse"\n'), FAIL),
    ("APP-4", answer("POST /v1/chat/completions {} +key", said(401)), UNKNOWN),
    ("APP-4", answer("POST /v1/chat/completions {} +key", said(503)), UNKNOWN),
    ("APP-4", answer("POST /rag_answer {} +key", said(200)), FAIL),
    ("APP-4", both(HTTP, file("app.py", LOOSE)), UNKNOWN),
    ("APP-5", setting("per_key_min: 60", "per_key_min: 100000, headers: all"), FAIL),
    ("APP-6", both(HTTP, setting("command: [python, app.py]", "command: [python, app.py], timeout_s: 900")), FAIL),
    ("APP-7", edit("Dockerfile", 'CMD ["shipway", "serve"]', "CMD shipway serve"), FAIL),
    ("APP-8", file("src/shop/app.py", "import fastapi\napp = fastapi.FastAPI(debug=True)\n"), FAIL),
    ("APP-8", answer("GET /version", said(401, "no")), FAIL),
    ("DOCKER-1", edit("Dockerfile", "USER 10001\n", "# USER 10001\n"), FAIL),
    ("DOCKER-1", edit("Dockerfile", "USER 10001", "USER 10001\nUSER root"), FAIL),
    (
        "DOCKER-1",
        both(edit("Dockerfile", "USER 10001\n", ""), edit("Dockerfile", "RUN pip", "USER 10001\nRUN pip")),
        FAIL,
    ),
    ("DOCKER-1", heredoc("USER 10001"), FAIL),
    ("DOCKER-1", edit("Dockerfile", "USER 10001", "ARG WHO\nUSER $WHO"), UNKNOWN),
    (
        "DOCKER-2",
        both(edit(".dockerignore", "**/__pycache__", "__pycache__"), edit(".dockerignore", "**/*.pyc", "*.pyc")),
        FAIL,
    ),
    ("DOCKER-2", edit(".dockerignore", "venv\n", "venv\n!.env\n"), FAIL),
    ("DOCKER-3", edit("Dockerfile", "PYTHON=3.12\n", "PYTHON\n"), UNKNOWN),
    ("DOCKER-3", edit("Dockerfile", "FROM python:3.12-slim\n", "FROM registry:5000/python\n"), FAIL),
    ("DOCKER-3", edit("Dockerfile", "FROM python:3.12-slim\n", "FROM python:latest\n"), FAIL),
    ("DOCKER-4", edit("Dockerfile", 'CMD ["shipway"', 'HEALTHCHECK NONE\nCMD ["shipway"'), FAIL),
    ("DOCKER-5", edit("Dockerfile", "USER 10001", "LABEL size=100MB\nUSER 10001"), UNKNOWN),
    ("DOCKER-6", setting("logging:", "memory: { routes: { chat: {} }, store: memory }\nlogging:"), FAIL),
    (
        "CICD-1",
        both(
            setting("unit: { run: [python, -m, pytest, tests/unit] }", "unit: { run: [echo, pytest] }"),
            edit(CI, "pytest tests/unit", "pytest tests/unit || true"),
        ),
        FAIL,
    ),
    ("CICD-1", edit(CI, "ruff check .", "echo ruff check ."), FAIL),
    ("CICD-1", edit(CI, "  pull_request:\n", "  workflow_dispatch:\n"), FAIL),
    (
        "CICD-1",
        edit(
            CI, "runs-on: ubuntu-latest\n    steps:\n      - uses", "continue-on-error: true\n    steps:\n      - uses"
        ),
        FAIL,
    ),
    ("CICD-1", edit(CI, "ruff check .", "tox -e lint"), UNKNOWN),
    ("CICD-2", edit("tests/integration/test_api.py", "assert client", "client"), FAIL),
    ("CICD-2", edit(CI, "pytest tests/integration", "pytest tests/integration | tee log"), FAIL),
    ("CICD-2", edit(CI, "pytest tests/integration", 'pytest -m "not integration"'), FAIL),
    ("CICD-3", edit(CI, "shipway pipeline run", "shipway pipeline run --dry-run"), FAIL),
    ("CICD-3", edit(CI, "shipway pipeline run", "shipway eval run rel --no-gates"), FAIL),
    (
        "CICD-3",
        setting("gate: { uses: evaluate, needs: [unit] }", "gate: { uses: evaluate, allow_failure: true }"),
        FAIL,
    ),
    ("CICD-4", edit(CI, "docker build -t shop .", "docker buildx ls"), FAIL),
    ("CICD-5", edit(CI, "branches: [main]", "branches: [docs]"), FAIL),
    ("CICD-5", edit(CI, "if: github.event_name == 'push'", "if: false"), FAIL),
    ("CICD-5", edit(CI, "if: github.event_name == 'push'", "if: inputs.deploy"), UNKNOWN),
    ("CICD-5", edit(CI, 'shipway deploy "$RELEASE" --wait', "gcloud run services list"), FAIL),
    ("CICD-5", edit(CI, 'shipway deploy "$RELEASE" --wait', "kubectl apply --dry-run=server -f ."), FAIL),
    ("CICD-6", setting("weight: 0.1, shadow: 0.1 }, { weight: 1.0", "weight: 1.0"), FAIL),
    (
        "CICD-7",
        file("runbooks/rollback.md", "# Food\n\nWe never do a rollback.\n<!-- # Rollback `shipway rollback` -->\n"),
        FAIL,
    ),
    ("CICD-7", store(events=()), UNKNOWN),
    ("CICD-7", store(faults=("audit seq 2: changed",)), UNKNOWN),
    ("CICD-7", store(events=(AuditEvent(NOW_S, "a", "rollback.started", "r"),)), UNKNOWN),
    (
        "CICD-8",
        setting("metric: supported, min: 0.85 }\n  - { metric: hallucination, max: 0.05", "metric: correct, min: 0.85"),
        FAIL,
    ),
    ("CICD-9", store(faults=("audit seq 2: changed",)), UNKNOWN),
    ("CICD-10", git(tracked=frozenset({"prompts/answer.yaml"})), FAIL),
    ("CICD-11", edit(CI, "shipway pipeline run", "shipway eval report rel"), FAIL),
    ("CICD-12", git(commits={}), FAIL),
    ("CICD-13", setting("shadow: 0.1", "shadow: 0"), FAIL),
    ("TEST-1", edit("tests/unit/test_parts.py", "def test_cost", "@pytest.mark.skip\ndef test_cost"), FAIL),
    ("TEST-1", edit("tests/unit/test_parts.py", "assert total_cost(1) == 1", "assert True"), FAIL),
    (
        "TEST-2",
        both(edit("evals/smoke.yaml", "kind: citation", "kind: contains"), file("tests/integration/test_api.py", None)),
        FAIL,
    ),
    ("TEST-3", has(dataset=DatasetFacts("c", 60, 49)), FAIL),
    ("TEST-4", setting("max: 0.05", "max: 0.05, tags: [easy]"), FAIL),
    ("TEST-5", file("tests/load/locustfile.py", "P99_S = 1.0\n"), UNKNOWN),
    ("TEST-6", setting("repeats: 3", "concurrency: 3"), FAIL),
    ("MON-1", has(lines=("request_id=r model=m tokens_in=1 tokens_out=1 cost_usd=0.1",)), UNKNOWN),
    ("MON-2", file("monitoring/dashboard.json", '{"panels": [{"title": "shipway_requests_total latency"}]}'), UNKNOWN),
    ("MON-3", answer("GET /metrics +key", said(200, "# shipway_tokens shipway_cost_usd shipway_cache_hits\n")), FAIL),
    ("MON-4", setting("ratio: 0.01", "ratio: 0"), FAIL),
    ("MON-5", file("monitoring/alerts.yaml", ALERTS.replace("- alert: Cost", "- record: cost")), FAIL),
    ("MON-5", edit("monitoring/alerts.yaml", "* 24 > 50", "* 24"), FAIL),
    (
        "MON-6",
        file(
            "monitoring/alerts.yaml",
            ALERTS.replace("sum(rate(shipway_cost_usd_total[1h])) * 24 > 50", "1 > 0 # shipway_cost_usd_total"),
        ),
        UNKNOWN,
    ),
    ("MON-7", both(store(feedback=0), answer("POST /no-such-page +key", said(400))), FAIL),
    ("MON-8", file("monitoring/alerts.yaml", "groups: []\n# - alert: Errors\n"), UNKNOWN),
    ("MON-9", setting("quality: { sample: 0.05 }", "quality: { sample: 0 }"), FAIL),
    (
        "SEC-1",
        edit("deploy/shop.yaml", "valueFrom: { secretKeyRef: { name: shop, key: openai } }", "value: plain"),
        UNKNOWN,
    ),
    ("SEC-1", file("deploy/shop.yaml", MANIFESTS.replace("ExternalSecret", "Secret")), UNKNOWN),
    ("SEC-2", setting("question: hash", "question: mask"), UNKNOWN),
    ("SEC-3", file("docs/security.md", "# Prompt injection\n\nWe defend.\n"), UNKNOWN),
    ("SEC-4", has(lines=('{"event": "started"}',)), UNKNOWN),
    ("SEC-4", has(lines=(json.dumps(REQUEST), "card 4111 1111 1111 1111")), FAIL),
    ("SEC-5", edit("deploy/shop.yaml", 'force-ssl-redirect: "true"', 'force-ssl-redirect: "false"'), UNKNOWN),
    ("SEC-5", both(file("deploy/shop.yaml", None), answer("GET / over plain http", said(200))), FAIL),
    ("SEC-5", file("deploy/other.yaml", "apiVersion: v1\nkind: Ingress\nspec: { rules: [] }\n"), FAIL),
    ("SEC-5", both(file("deploy/shop.yaml", None), has(url="http://127.0.0.1:8080")), UNKNOWN),
    ("SEC-6", answer("GET /v1/models", said(404)), UNKNOWN),
    ("SEC-6", answer("GET /no-such-page", said(200)), FAIL),
    (
        "SEC-7",
        both(setting(", tokens_per_min: 20000", ", headers: all"), setting("daily_usd: 50", "max_new: 100")),
        FAIL,
    ),
    ("SEC-8", git(ignored=frozenset()), FAIL),
    ("SEC-8", edit("Dockerfile", "ENV MODE=production", "ENV OPENAI_API_KEY=abc"), FAIL),
    (
        "REL-1",
        file("deploy/shop.yaml", MANIFESTS.replace("minReplicas: 2", "minReplicas: {{ .Values.replicas }}")),
        UNKNOWN,
    ),
    ("REL-1", edit("deploy/shop.yaml", "  minReplicas: 2", "  maxReplicas: 9"), FAIL),
    (
        "REL-2",
        setting(
            'engine: vllm, model: small, base_url: "http://engine:8000/v1"',
            'engine: openai, model: gpt-4o-mini, base_url: "https://api.openai.com/v1", price: { input: 1, output: 1 }',
        ),
        FAIL,
    ),
    ("REL-3", setting("routing:\n", "routing:\n  retries: { attempts: 1, max_share: 1 }\n"), FAIL),
    ("REL-4", answer("GET /metrics +key", said(403)), UNKNOWN),
    (
        "REL-5",
        file(
            "src/shop/db.py",
            "from sqlalchemy import create_engine, NullPool\ne = create_engine('x', poolclass=NullPool)\n",
        ),
        FAIL,
    ),
    ("REL-5", file("src/shop/db.py", "import pymongo\npymongo.version()\n"), UNKNOWN),
    ("REL-6", setting("routing:\n", "routing:\n  retries: { attempts: 1, max_share: 1 }\n"), FAIL),
    ("REL-7", store(corpus="", stable_corpus="sha256:1"), UNKNOWN),
    ("REL-8", both(HTTP, file("app.py", "LIMIT_OF_AGENTS = 4\n")), UNKNOWN),
    ("REL-9", file("docs/disaster-recovery.md", "# Disaster recovery\n\n`shipway db backup x`\n"), UNKNOWN),
    ("REL-10", setting("rules: [{ min_complexity: 0.6, to: main }]", "rules: [{ min_chars: 10, to: main }]"), FAIL),
    ("LIVE-1", answer("GET models of other", said(200, '{"data": [{"id": "tiny", "max_model_len": 9000}]}')), FAIL),
    ("LIVE-2", both(setting("engine: vllm", "engine: trtllm"), file("README.md", "# Paged KV cache\n")), UNKNOWN),
    (
        "LIVE-3",
        answer("POST /v1/chat/completions stream +key", said(200, "data: [DONE]", content_type="application/json")),
        FAIL,
    ),
    ("LIVE-4", setting("question: hash", "question: restricted"), FAIL),
    (
        "LIVE-5",
        both(
            store(refused=0),
            answer("GET /metrics +key", said(200, METRICS + 'shipway_rejected_total{kind="rate"} 0\n')),
        ),
        UNKNOWN,
    ),
    ("LIVE-6", store(stable_corpus=""), FAIL),
    ("LIVE-7", both(HTTP, file("sandbox/README.md", "# Sandbox\n")), UNKNOWN),
    (
        "LIVE-8",
        file(
            "monitoring/dashboard.json", json.dumps({"panels": [{"targets": [{"expr": f'vector("{DASHBOARD[:9]}")'}]}]})
        ),
        UNKNOWN,
    ),
    ("LIVE-9", setting("strategy: canary", "strategy: canary\n  on_harm: freeze"), FAIL),
    ("LIVE-10", file("runbooks/safety.md", None), FAIL),
    ("LIVE-10", edit("README.md", "[Safety](runbooks/safety.md)", "`[Safety](runbooks/safety.md)`"), FAIL),
    # Into a service of the user's own nothing here can look, whatever the gateway's settings say.
    *((check, both(has(settings=OWN_ALONE), file("src/shop/parts.py", None)), UNKNOWN) for check in OF_OWN_SERVICES),
]
