"""The example of a service that keeps its own code works, passes its gates, and fails them when it is broken."""

import runpy
import shutil
from pathlib import Path
from typing import Any

import pytest

from shipway.config.loading import load_project
from shipway.core.canonical import digest_json
from shipway.core.verdicts import Verdict
from shipway.evals.baseline import bind
from shipway.evals.dataset import parse_dataset
from shipway.evals.gate_spec import parse_gates
from shipway.evals.gates import GateOptions, evaluate_gates
from shipway.evals.metrics import MetricContext
from shipway.evals.model import Attempt, Output, RunReport
from shipway.evals.scoring import score_attempts
from shipway.scaffold.plan import plan_project

EXAMPLE = Path(__file__).parents[3] / "examples" / "own-service"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return Path(shutil.copytree(EXAMPLE, tmp_path / "own-service"))


@pytest.fixture
def client(project: Path) -> Any:
    return client_of(project)


def client_of(project: Path) -> Any:
    return runpy.run_path(str(project / "app.py"))["app"].test_client()


def edit(project: Path, before: str, after: str) -> None:
    text = (project / "app.py").read_text()
    assert text.count(before) == 1
    (project / "app.py").write_text(text.replace(before, after))


def evaluated(project: Path, name: str) -> RunReport:
    """Ask all cases as `evals.http` of the project file says."""
    dataset = parse_dataset((project / "evals/cases.jsonl").read_bytes(), "cases.jsonl")
    question = load_project(project, {}).project.evals.http
    assert question is not None
    service = client_of(project)
    attempts = []
    for case in dataset.cases:
        body = {key: text.replace("{question}", case.question) for key, text in question.body.items()}
        reply = service.post(question.path, json=body)
        attempts.append(Attempt(case.id, 0, Output(answer=reply.json[question.answer])))
    results = score_attempts(attempts, dataset, MetricContext())
    return RunReport(name, digest_json(name), dataset, 1, results, bind(dataset, corpus=digest_json(None)))


def verdict_of(project: Path, candidate: RunReport, baseline: RunReport | None) -> Verdict:
    gates = load_project(project, {}).project.gates
    specs = parse_gates([gate.model_dump(exclude_defaults=True, exclude={"reason"}) for gate in gates])
    return evaluate_gates(specs, candidate, baseline, GateOptions(first_release=baseline is None)).verdict


@pytest.mark.parametrize(
    ("text", "label"),
    [("Where is my ORDER 10042?", "order"), ("money back!", "refund"), ("my password", "account"), ("hi", "other")],
)
def test_a_message_gets_its_label(client: Any, text: str, label: str) -> None:
    assert client.post("/classify", json={"text": text}).json == {"label": label, "release": "unreleased"}


@pytest.mark.parametrize("body", [{}, {"text": ""}, {"text": 3}, ["text"], None])
def test_a_request_without_text_is_a_client_error(client: Any, body: Any) -> None:
    reply = client.post("/classify", json=body)
    assert reply.status_code == 400
    assert "send JSON" in reply.json["error"]


def test_a_body_that_is_no_json_is_a_client_error(client: Any) -> None:
    assert client.post("/classify", data=b"\xff{", content_type="application/json").status_code == 400


def test_the_release_of_the_header_wins_over_that_of_the_process(client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHIPWAY_RELEASE", "rel_process")
    assert client.get("/").json["release"] == "rel_process"
    assert client.get("/", headers={"X-Shipway-Release": "rel_header"}).json["release"] == "rel_header"


def test_the_service_says_that_it_is_healthy_where_the_project_file_says(client: Any, project: Path) -> None:
    health = load_project(project, {}).project.routes["classify"].health
    assert client.get(health).status_code == 200


def test_an_order_has_a_status_and_an_unknown_one_is_not_found(client: Any) -> None:
    assert client.get("/orders/10042").json["status"] == "on its way"
    assert client.get("/orders/1").status_code == 404


def test_the_project_file_is_valid_and_releases_the_code_that_it_starts(project: Path) -> None:
    settings = load_project(project, {}).project
    route = settings.routes["classify"]
    assert (route.kind, route.command) == ("http", ("python", "app.py"))
    assert settings.code.paths == ("app.py",)


def test_the_example_passes_its_gates_as_first_release(project: Path) -> None:
    assert verdict_of(project, evaluated(project, "v1"), None) is Verdict.PASS


def test_a_second_version_with_one_line_edited_passes_against_the_first(project: Path) -> None:
    first = evaluated(project, "v1")
    edit(project, '"broken"}', '"broken", "exchange"}')
    assert client_of(project).post("/classify", json={"text": "exchange please"}).json["label"] == "refund"
    assert verdict_of(project, evaluated(project, "v2"), first) is Verdict.PASS


def test_a_broken_version_fails(project: Path) -> None:
    first = evaluated(project, "v1")
    edit(project, "if words & known), ", "if not words), ")
    assert verdict_of(project, evaluated(project, "v2"), first) is Verdict.FAIL


def test_the_scaffold_of_kind_http_starts_from_the_same_service() -> None:
    planned = {str(file.path): file.content for file in plan_project("http", "own-service")}
    for path in ("app.py", "requirements.txt", "evals/cases.jsonl"):
        assert planned[path] == (EXAMPLE / path).read_text(), path
