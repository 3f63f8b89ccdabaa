"""The stages that judge, over a small app whose engine repeats what it was asked."""

import json

import pytest

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]

ASKER = {"tenant": "default", "groups": ["public"]}
CASES = [
    {"id": name, "question": question, "must_contain": [term], "expected_sources": [f"{name}.md"], **ASKER}
    for name, question, term in (
        ("opening", "When does the library open?", "9"),
        ("loans", "How long may a book be kept?", "28"),
    )
]
MAY_FAIL = {"regression", "staging", "review"}
PIPELINE = """pipeline:
  corpus: { uses: rag-build }
  release: { uses: release, needs: [corpus] }
  data: { uses: data }
  cost: { uses: cost, needs: [release], with: { budget_tokens: 1000000 } }
  evaluate: { uses: evaluate, needs: [release] }
  safety: { uses: safety, needs: [evaluate] }
  regression: { uses: regression, needs: [evaluate], allow_failure: true }
  gates: { uses: gate, needs: [evaluate], with: { metrics: ["tenant_*"] } }
  staging: { uses: staging, needs: [evaluate], allow_failure: true }
  canary: { uses: canary, needs: [safety, gates] }
  watch: { uses: monitor, needs: [canary] }
  review: { uses: review, needs: [release], allow_failure: true }
  rag: { uses: rag-integration, needs: [release], gate: [{ metric: recall, min: 0.8 }] }
"""


@pytest.fixture
def library(make_app):
    app = make_app("rag")
    app.write("evals/cases.jsonl", "\n".join(map(json.dumps, CASES)))
    app.write("shipway.yaml", (app.root / "shipway.yaml").read_text() + PIPELINE)
    return app


def stages(app, *arguments):
    done = app.run("pipeline", "run", "--json", *arguments)
    return {stage["name"]: stage for stage in done.json["stages"]}


def fails_what_is_too_little(library):
    gone = {"id": "gone", "question": "When?", "must_contain": ["never"], "expected_sources": ["gone.md"], **ASKER}
    library.write("evals/cases.jsonl", "\n".join(map(json.dumps, [*CASES, gone])))
    library.edit("shipway.yaml", "budget_tokens: 1000000", "budget_tokens: 1")
    library.edit("shipway.yaml", "needs: [release], gate", "needs: [release], allow_failure: true, gate")
    library.edit("shipway.yaml", "cost: { uses: cost,", "cost: { uses: cost, allow_failure: true,")
    found = stages(library)
    assert found["cost"]["verdict"] == "FAIL"
    assert "the budget is 1" in found["cost"]["problem"]
    assert found["rag"]["verdict"] == "FAIL"
    said = {row["rule"]: row["message"] for row in found["rag"]["outputs"]["findings"]["items"] if "message" in row}
    assert said["rag/visible"] == "was not ingested: it is not in the corpus that was built"
    assert "recall is 0.667" in said["rag/recall"]


def test_a_release_is_judged_by_every_stage_and_each_says_what_it_found(library):
    assert library.spawn("up", "--timeout", "60").code == 0
    found = stages(library)
    assert {name: stage["verdict"] for name, stage in found.items() if name not in MAY_FAIL} == dict.fromkeys(
        ("corpus", "release", "data", "cost", "evaluate", "safety", "gates", "canary", "watch", "rag"), "PASS"
    )
    assert all("asks the service that runs here at http" in found[name]["output_tail"] for name in ("evaluate", "rag"))
    assert found["rag"]["outputs"]["recall"] == 1.0
    assert found["rag"]["outputs"]["keyword_score"] == 1.0
    assert found["cost"]["outputs"]["tokens"] > 0
    assert [row["rule"] for row in found["safety"]["outputs"]["findings"]["items"]] == ["gate/zero_tolerance"]
    assert found["regression"]["verdict"] == "NO_DATA"
    assert "environment 'local', not to 'staging'; nothing was deployed" in found["staging"]["problem"]
    assert found["review"]["verdict"] == "NO_DATA"
    assert found["canary"]["outputs"]["kind"] == "first"
    assert found["watch"]["outputs"]["state"] == "no rollout: first release, or unchanged"
    report = library.run("pipeline", "report", "--json").json
    assert [stage["stage"] for stage in report["stages"]] == list(found)
    assert library.run("pipeline", "report", "-f", "markdown").out.startswith("<!-- shipway pipeline -->")
    fails_what_is_too_little(library)


def test_a_stage_that_judges_says_which_stage_it_needs_before_it(library):
    found = library.run("pipeline", "run", "--only", "data", "--json").json
    assert found["verdict"] == "PASS"
    library.edit("shipway.yaml", "safety: { uses: safety, needs: [evaluate] }", "safety: { uses: safety }")
    problem = stages(library, "--only", "safety")["safety"]["problem"]
    assert "no stage before it made a release" in problem
