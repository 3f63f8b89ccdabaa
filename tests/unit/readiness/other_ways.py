"""Apps that satisfy a check in another way than the one that is ready, or that it does not apply to."""

import json

from tests.unit.readiness.ready_app import (
    CI,
    HTTP,
    METRICS,
    NOW_S,
    REQUEST,
    Change,
    answer,
    both,
    edit,
    file,
    has,
    said,
    setting,
    store,
)

from shipway.core.ports import AuditEvent
from shipway.readiness.model import State

FAIL, UNKNOWN, PASS = State.FAIL, State.NOT_CHECKED, State.PASS
Case = tuple[str, Change, State]
NOT_APPLICABLE = State.NOT_APPLICABLE
LOCAL = """app: small
models: { m: { engine: llamacpp, model: smollm2-135m-instruct } }
routes: { chat: { kind: chat, model: m } }
"""
GITLAB = """stages: [test, deploy]
default:
  before_script: [pip install shop]
test:
  stage: test
  script:
    - ruff check .
    - pytest
  rules:
    - if: $CI_PIPELINE_SOURCE == "merge_request_event"
ship:
  stage: deploy
  script: [shipway deploy $RELEASE]
  rules:
    - if: $CI_COMMIT_BRANCH == $CI_DEFAULT_BRANCH
"""
MAKEFILE = "BIN := .venv/bin\n\ncheck: lint\n\t@$(BIN)/pytest tests\n\nlint:\n\t$(BIN)/ruff check .\n"
HANDLER = """from fastapi import FastAPI
from pydantic import BaseModel
app = FastAPI()
class Question(BaseModel):
    text: str
@app.post("/classify")
async def classify(question: Question): ...
"""
DIGEST = "python@sha256:" + "0" * 64
STAGES = "lint: { uses: lint }\n  unit: { uses: tests, with: { paths: [tests/unit] } }"
OTHER_WAYS: list[Case] = [
    ("APP-4", both(HTTP, file("app.py", HANDLER)), PASS),
    ("APP-7", edit("Dockerfile", 'CMD ["shipway", "serve"]', 'ENTRYPOINT ["shipway"]\nCMD serve'), PASS),
    ("APP-7", file("Dockerfile", None), PASS),
    ("DOCKER-1", edit("Dockerfile", "FROM python:3.12-slim\n", "FROM build\n"), PASS),
    ("DOCKER-1", edit("Dockerfile", "USER 10001", "ARG WHO=app\nUSER ${WHO}"), PASS),
    ("DOCKER-2", file(".dockerignore", "*\n!src\n**/*.pyc\n**/__pycache__\n"), PASS),
    ("DOCKER-3", edit("Dockerfile", "FROM python:3.12-slim\n", f"FROM {DIGEST}\n"), PASS),
    ("DOCKER-3", file("Dockerfile", "FROM scratch\nCOPY a /a\n"), NOT_APPLICABLE),
    ("DOCKER-4", edit("Dockerfile", "USER 10001\n", "USER 10001\nHEALTHCHECK NONE\n"), PASS),
    ("CICD-1", edit(CI, "pytest tests/unit", "pytest tests/unit || true"), PASS),
    ("CICD-1", both(file(CI, None), file(".gitlab-ci.yml", GITLAB)), PASS),
    ("CICD-5", both(file(CI, None), file(".gitlab-ci.yml", GITLAB)), PASS),
    (
        "CICD-1",
        both(edit(CI, "ruff check .\n          pytest tests/unit", "make check"), file("Makefile", MAKEFILE)),
        PASS,
    ),
    ("CICD-1", setting("unit: { run: [python, -m, pytest, tests/unit] }", STAGES), PASS),
    ("CICD-2", edit(CI, "pytest tests/integration", "shipway eval smoke"), PASS),
    ("CICD-4", edit(CI, "run: docker build -t shop .", "uses: docker/build-push-action@v6"), PASS),
    ("CICD-6", setting("strategy: canary", "strategy: rolling"), PASS),
    (
        "CICD-9",
        store(
            events=(
                AuditEvent(NOW_S - 9, "a", "rollout.roll_back", "r"),
                AuditEvent(NOW_S, "a", "rollout.rolled_back", "r"),
            )
        ),
        PASS,
    ),
    ("CICD-13", setting("strategy: canary", "strategy: shadow"), PASS),
    ("TEST-1", file("src/shop/parts.py", None), NOT_APPLICABLE),
    ("TEST-2", file("evals/smoke.yaml", "- name: x\n  kind: citation\n  prompt: How?\n"), PASS),
    ("MON-6", has(settings=LOCAL), NOT_APPLICABLE),
    ("MON-7", store(feedback=0), PASS),
    ("SEC-1", has(settings=LOCAL), NOT_APPLICABLE),
    # Figures whose digits are, by chance, those of a card.
    ("SEC-4", has(lines=(json.dumps({**REQUEST, "latency_ms": 3.456844000134155}),)), PASS),
    ("SEC-4", has(lines=(json.dumps({**REQUEST, "started_ms": 1795338248218}),)), PASS),
    (
        "SEC-5",
        both(file("deploy/shop.yaml", None), answer("GET / over plain http", said(308, location="https://x/"))),
        PASS,
    ),
    (
        "REL-5",
        file(
            "src/shop/db.py",
            "from psycopg_pool import ConnectionPool\nimport sqlalchemy\nsqlalchemy.create_engine('x')\n",
        ),
        PASS,
    ),
    ("REL-7", has(settings=LOCAL), NOT_APPLICABLE),
    ("REL-10", has(settings=LOCAL), NOT_APPLICABLE),
    ("LIVE-1", has(settings=LOCAL), NOT_APPLICABLE),
    (
        "LIVE-5",
        both(
            store(refused=0),
            answer("GET /metrics +key", said(200, METRICS + 'shipway_rejected_total{kind="rate"} 4\n')),
        ),
        PASS,
    ),
    ("LIVE-6", has(settings=LOCAL), NOT_APPLICABLE),
    ("LIVE-8", file("docs/grafana.json", '{"panels": []}'), PASS),
]
