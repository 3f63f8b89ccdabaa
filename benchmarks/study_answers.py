"""Answer the help desk's cases with the embedded model, once per prompt version, and count what came out.

    python benchmarks/study_answers.py              # the figures; writes benchmarks/results/answers.json

The corpus is built in a temporary directory with the settings of the example's shipway.yaml, and the engine runs for
the study alone. `correct_before` is the model's own words, `correct` the text that a user gets. Settings are chosen on
the split `calibration`; the split `test` is only reported.
"""

import asyncio
import itertools
import socket
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import report
import yaml
from helpdesk import CASES, EXAMPLE, SPLITS, indexed

from shipway.adapters.openai_http.generator import OpenAiGenerator
from shipway.config.sections.corpus import Corpus
from shipway.core.clock import SystemClock
from shipway.core.ids import TenantId
from shipway.core.principal import Principal
from shipway.entrypoints.rag_parts import embedder, reranker
from shipway.evals.dataset import load_dataset
from shipway.evals.metrics import METRICS, DocumentAccess, MetricContext
from shipway.evals.model import Case, Output
from shipway.rag.answer import Answer, Answerer, AnswerSettings, Generator
from shipway.rag.compose import parse_prompt
from shipway.rag.focus import SentenceModels
from shipway.rag.index import OpenCorpus
from shipway.rag.retrieve import RetrievalModels, RetrievalPolicy, Retriever
from shipway.rag.vector_memory import RememberingEmbedder
from shipway.services.evaluation_targets import output_of
from shipway.services.models import locate

PROMPTS = ("v1", "v2", "v3")
MODEL = "smollm2-135m-instruct"
METRIC_NAMES = ("supported", "correct", "refused", "wrong_refusal", "recall_at_5", "citation_correct", "tenant_leak")
PACKAGES = ("llama-cpp-python", "onnxruntime", "faiss-cpu", "tantivy")
START_TIMEOUT_S = 60.0


@dataclass(frozen=True, slots=True)
class Bench:
    """What all prompt versions are measured with."""

    settings: Mapping[str, Any]
    corpus: OpenCorpus
    models: SentenceModels
    context: MetricContext

    def answerer(self, generator: Generator, prompt_file: Path) -> Answerer:
        """Return what answers with a prompt, as a release of the example would."""
        policy = RetrievalPolicy.from_dict(self.settings["retrieval"])
        assert self.models.embedder is not None
        used = RetrievalModels(self.models.embedder, self.models.reranker)
        decoding, budgets = self.settings["decoding"], self.settings["budgets"]
        return Answerer(
            Retriever(self.corpus, used, policy, SystemClock()),
            generator,
            parse_prompt(prompt_file.read_bytes(), prompt_file.name),
            AnswerSettings(
                top_k=policy.top_k,
                max_prompt_tokens=budgets["max_prompt"],
                max_new_tokens=budgets["max_new"],
                temperature=decoding["temperature"],
                seed=decoding["seed"],
            ),
            self.models,
        )


async def open_bench(directory: Path) -> Bench:
    settings = yaml.safe_load((EXAMPLE / "shipway.yaml").read_text(encoding="utf-8"))
    corpus = Corpus.model_validate(settings["corpus"])
    models = SentenceModels(RememberingEmbedder(embedder(corpus.embedding)), reranker("ms-marco-minilm-l12-v2-int8"))
    assert models.embedder is not None
    found = await indexed(corpus, directory, models.embedder)
    access = {item.path: DocumentAccess(item.tenant, frozenset(item.groups)) for item in found.manifest.documents}
    return Bench(settings, found, models, MetricContext(access))


@asynccontextmanager
async def engine() -> AsyncIterator[OpenAiGenerator]:
    """Run the embedded engine for as long as it is needed."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = ("-m", "shipway.adapters.llamacpp", "--model", str(locate(MODEL)), "--port", str(port))
    process = await asyncio.create_subprocess_exec(
        sys.executable, *command, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL
    )
    generator = OpenAiGenerator(f"http://127.0.0.1:{port}/v1", MODEL, timeout_s=120.0)
    try:
        await wait_healthy(f"http://127.0.0.1:{port}/health")
        yield generator
    finally:
        await generator.close()
        process.terminate()
        await process.wait()


async def wait_healthy(url: str) -> None:
    async with asyncio.timeout(START_TIMEOUT_S), aiohttp.ClientSession() as session:
        while True:
            try:
                async with session.get(url) as reply:
                    if reply.status == 200:
                        return
            except aiohttp.ClientError:
                pass
            await asyncio.sleep(0.1)


async def ask(answerer: Answerer, cases: Sequence[Case]) -> list[tuple[Case, Answer, float]]:
    found = []
    for case in cases:
        principal = Principal(TenantId(case.tenant), frozenset(case.groups), "study")
        started_s = time.monotonic()
        answer = await answerer.answer(case.question, principal)
        found.append((case, answer, time.monotonic() - started_s))
    return found


def figures(asked: Sequence[tuple[Case, Answer, float]], context: MetricContext) -> dict[str, float]:
    scores: dict[str, list[float]] = {name: [] for name in ("correct_before", *METRIC_NAMES)}
    for case, answer, seconds in asked:
        output = output_of(answer, latency_ms=seconds * 1000)
        for name in METRIC_NAMES:
            if METRICS[name].applies(case) and (score := METRICS[name].compute(case, output, context)) is not None:
                scores[name].append(score)
        before = METRICS["correct"].compute(case, Output(answer=answer.model_text, events=answer.events), context)
        if before is not None:
            scores["correct_before"].append(before)
    means = {name: round(statistics.fmean(values), 4) for name, values in scores.items() if values}
    spent_s = [seconds for _, _, seconds in asked]
    own_ms = [answer.timings_ms["total"] - answer.timings_ms.get("generate", 0.0) for _, answer, _ in asked]
    sizes = [len(answer.text) for _, answer, _ in asked if answer.citations]
    return {
        **means,
        "seconds_p50": round(statistics.median(spent_s), 3),
        "without_model_p50_ms": round(statistics.median(own_ms), 1),
        "answer_chars_p50": statistics.median(sizes),
    }


async def study() -> dict[str, dict[str, float]]:
    dataset = await load_dataset(CASES)
    table: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as directory:
        bench = await open_bench(Path(directory))
        async with engine() as generator:
            for split, version in itertools.product(reversed(SPLITS), PROMPTS):
                answerer = bench.answerer(generator, EXAMPLE / "prompts" / f"answer.{version}.yaml")
                asked = await ask(answerer, dataset.only(split).cases)
                table[f"{version}/{split}"] = figures(asked, bench.context)
                print(f"{version}/{split}", table[f"{version}/{split}"], flush=True)
    return table


def show(table: Mapping[str, Mapping[str, float]]) -> None:
    columns = list(next(iter(table.values())))
    print(f"{'':16}" + "".join(f"{name:>21}" for name in columns))
    for name, row in table.items():
        print(f"{name:16}" + "".join(f"{row.get(column, float('nan')):>21.4g}" for column in columns))


def main() -> None:
    table = asyncio.run(study())
    show(table)
    summary = {f"{version}_{name}": value for version in PROMPTS for name, value in table[f"{version}/test"].items()}
    report.write("answers", summary, table, PACKAGES)


if __name__ == "__main__":
    main()
