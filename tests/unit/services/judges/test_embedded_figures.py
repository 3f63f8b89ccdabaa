"""What is said of the embedded judge is what was measured, and the real models still say it."""

import json
from dataclasses import asdict
from pathlib import Path

import pytest

from shipway.core.errors import NotFoundError
from shipway.entrypoints.rag_parts import embedder, reranker
from shipway.evals.judgement import JudgeRequest
from shipway.evals.labels import parse_labels
from shipway.evals.model import Case, Output
from shipway.services.judges.embedded import EMBEDDING, RERANKER, SUPPORT, EmbeddedJudge

ROOT = Path(__file__).parents[4]
FIGURES = json.loads((ROOT / "benchmarks" / "results" / "judge.json").read_text())
LABELS = ROOT / "benchmarks" / "judge" / "helpdesk-labels.jsonl"
PASSAGE = "Standard delivery costs EUR 3.90 and is free for orders from EUR 35. The app does not record sound."


def test_the_coefficients_are_those_that_were_fitted():
    assert FIGURES["details"]["fitted"] == FIGURES["details"]["used"] == asdict(SUPPORT)


def test_agreement_with_people_is_beyond_what_a_judge_must_show_by_default():
    assert FIGURES["summary"]["kappa_faithfulness_lower95"] >= 0.4
    assert FIGURES["details"]["as_shipped"]["completeness"]["kappa_interval"][0] >= 0.4


def test_the_labels_are_a_hundred_answers_of_both_kinds():
    cases = {json.loads(line)["id"] for line in (ROOT / "examples/helpdesk/evals/cases.jsonl").read_text().splitlines()}
    labels = parse_labels(LABELS.read_bytes(), LABELS.name, {name: Case(id=name, question="?") for name in cases})

    read = [label for label in labels if label.task == "faithfulness"]
    assert len(read) == FIGURES["summary"]["answers"] == 100
    assert min(sum(label.label == kind for label in read) for kind in (0, 1)) >= 40


@pytest.fixture(scope="module")
def judge():
    try:
        models = (embedder(EMBEDDING), reranker(RERANKER))
    except NotFoundError as error:
        pytest.skip(str(error))
    return EmbeddedJudge("embedded", *models)


@pytest.mark.model
@pytest.mark.parametrize(
    ("answer", "score"),
    [
        ("Standard delivery is EUR 3.90.", 1.0),
        ("From EUR 35 standard delivery is free of charge.", 1.0),
        ("Standard delivery costs EUR 4.90.", 0.0),
        ("Delivery by helicopter arrives within the hour.", 0.0),
        ("The app records sound.", 0.0),
        ("Standard delivery costs EUR 3.90. The app records sound.", 0.5),
    ],
)
async def test_the_real_models_tell_supported_from_invented(judge, answer, score):
    case = Case(id="a", question="What does standard delivery cost?")

    found = await judge.judge(JudgeRequest("faithfulness", case, Output(answer, passages=(PASSAGE,))), repeat=0)

    assert found.score == score
