"""Hold the embedded judge to labelled answers of the help desk's calibration split.

    python benchmarks/study_judge.py        # the figures; writes benchmarks/results/judge.json

The answers are real ones of the embedded model under many prompts, the passages are what it was shown. `faithfulness`
was labelled by reading: 1 when everything that the answer states is in the passages or follows from them, null when it
states nothing. `completeness` is labelled by known facts: 1 when the answer holds the case's `must_contain` and none of
its `must_not_contain`. The coefficients in `services/judges/embedded.py` are fitted to `faithfulness` and must be what
this prints; `cross_validated` is of answers whose cases had no part in the fit. `completeness` had no part in it.
"""

import asyncio
import dataclasses
import time
from collections.abc import Sequence
from typing import Any

import report
from helpdesk import CASES, EXAMPLE

from shipway.entrypoints.rag_parts import embedder, reranker
from shipway.evals.calibration import Calibration, calibrate
from shipway.evals.dataset import load_dataset
from shipway.evals.judgement import Judgement
from shipway.evals.judging import judge_requests, without_asking
from shipway.evals.labels import Label, parse_labels
from shipway.evals.model import Case
from shipway.rag.answerable import Coefficients, Signals
from shipway.rag.calibration import calibrate as fit
from shipway.rag.support import sentences
from shipway.services.judges.embedded import EMBEDDING, RERANKER, SUPPORT, EmbeddedJudge

LABELS = EXAMPLE.parent.parent / "benchmarks" / "judge" / "helpdesk-labels.jsonl"
FOLDS = 10
RIDGE = 10.0
PACKAGES = ("onnxruntime", "tokenizers", "numpy")


async def weakest(judge: EmbeddedJudge, label: Label, case: Case) -> Signals | None:
    """Return the signals of the statement that decides; None where a check decides, or where nothing is stated."""
    found = []
    statements = [text for text in sentences(label.answer) if not text.endswith("?")]
    for evidence in await judge.evidence(case.question, statements, label.passages):
        best = evidence[0]
        if best.against:
            return None
        if not best.empty and not best.open:
            found.append(best.signals)
    return min(found, key=lambda signals: signals.rerank, default=None)


def fitted(pairs: Sequence[tuple[Signals, bool]]) -> Coefficients:
    return dataclasses.replace(fit(pairs, ridge=RIDGE).coefficients, threshold=SUPPORT.threshold)


async def judged(judge: EmbeddedJudge, labels: Sequence[Label], cases: dict[str, Case]) -> list[Judgement | str]:
    requests = [label.request(cases[label.case]) for label in labels]
    asked = await judge_requests(judge, requests, concurrency=1)
    return [without_asking(request) or found for request, found in zip(requests, asked, strict=True)]


async def cross_validated(
    labels: Sequence[Label], cases: dict[str, Case], pairs: dict[int, tuple[Signals, bool]], models: tuple[Any, Any]
) -> Calibration:
    """Judge each case by a fit to the other nine tenths of the cases."""
    names = sorted({label.case for label in labels})
    opinions: list[Judgement | str] = [""] * len(labels)
    for fold in range(FOLDS):
        held_out = set(names[fold::FOLDS])
        training = [pair for place, pair in pairs.items() if labels[place].case not in held_out]
        judge = EmbeddedJudge("fold", *models, support=fitted(training))
        places = [place for place, label in enumerate(labels) if label.case in held_out]
        for place, found in zip(places, await judged(judge, [labels[place] for place in places], cases), strict=True):
            opinions[place] = found
    return calibrate(labels, opinions)[0]


def figures(found: Calibration) -> dict[str, Any]:
    return {
        "n": found.n,
        "undecided": found.undecided,
        "kappa": found.kappa,
        "kappa_interval": found.kappa_interval,
        "finds_wrong": found.q0,
        "finds_right": found.q1,
        "confusion": dataclasses.asdict(found.confusion),
    }


async def main() -> None:
    cases = {case.id: case for case in (await load_dataset(CASES)).cases}
    labels = parse_labels(LABELS.read_bytes(), LABELS.name, cases)
    faithful = [label for label in labels if label.task == "faithfulness" and label.label is not None]
    models = (embedder(EMBEDDING), reranker(RERANKER))
    assert models[1] is not None
    judge = EmbeddedJudge("embedded", models[0], models[1])
    pairs = {}
    for place, label in enumerate(faithful):
        signals = await weakest(judge, label, cases[label.case])
        if signals is not None:
            pairs[place] = (signals, label.label == 1)
    started_s = time.monotonic()
    found = calibrate(labels, await judged(judge, labels, cases))
    spent_ms = (time.monotonic() - started_s) * 1000 / len(labels)
    cross = await cross_validated(faithful, cases, pairs, models)
    by_task = {item.task: figures(item) for item in found}
    summary = {
        "answers": len(labels) // 2,
        "kappa_faithfulness_cross_validated": rounded(cross.kappa),
        "kappa_faithfulness_lower95": rounded(cross.kappa_interval[0] if cross.kappa_interval else None),
        "kappa_completeness": rounded(next(item.kappa for item in found if item.task == "completeness")),
        "ms_an_answer": round(spent_ms, 1),
    }
    coefficients = dataclasses.asdict(fitted(list(pairs.values())))
    report.show(summary)
    print("fitted", coefficients)
    details = {"as_shipped": by_task, "cross_validated": figures(cross), "fitted": coefficients}
    report.write("judge", summary, {**details, "used": dataclasses.asdict(SUPPORT)}, PACKAGES)


def rounded(value: float | None) -> float:
    return round(value, 4) if value is not None else float("nan")


if __name__ == "__main__":
    asyncio.run(main())
