"""Judge a target's answers with DeepEval, RAGAS or Inspect: `python -P driver.py TOOL JOB`, in that tool's environment.

`driven` starts it. It stands alone there, with the standard library and the tool; a job names cases, endpoints and
metrics, and its folder gets `answers.json` and the tool's results.
"""

import asyncio
import inspect
import json
import math
import os
import sys
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

Job = Mapping[str, Any]
_LONGEST_ERROR = 2_000


def client_of(place: Mapping[str, Any], variable: str) -> Any:
    """Return an OpenAI client for an endpoint; its key is in an environment variable."""
    key = os.environ.get(variable) or "none"
    return import_module("openai").AsyncOpenAI(
        base_url=place["base_url"], api_key=key, timeout=place["timeout_s"], max_retries=1
    )


async def answers(job: Job) -> list[dict[str, Any]]:
    """Return one row for each case and repeat: its answer, or the error that came instead."""
    target, limit = job["target"], asyncio.Semaphore(job["concurrency"])

    async def ask(case: Mapping[str, Any], repeat: int) -> dict[str, Any]:
        row = {"case": case["id"], "repeat": repeat, "answer": "", "error": ""}
        messages = [*case["messages"], {"role": "user", "content": case["question"]}]
        async with limit:
            try:
                reply = await client.chat.completions.create(model=target["model"], messages=messages)
                row["answer"] = reply.choices[0].message.content or ""
            except Exception as error:  # noqa: BLE001 - whatever it is, it is why this case has no answer
                row["error"] = _said(error)
        if not row["answer"].strip() and not row["error"]:
            row["error"] = "the target answered with nothing"
        return row

    async with client_of(target, "SHIPWAY_TARGET_KEY") as client:
        wanted = [ask(case, repeat) for repeat in range(job["repeats"]) for case in job["cases"]]
        return list(await asyncio.gather(*wanted))


def write(job: Job, name: str, value: Any) -> None:
    """Write a result file whole or not at all."""
    path = Path(job["out"]) / name
    part = path.with_suffix(".part")
    part.write_text(json.dumps(value, allow_nan=False), encoding="utf-8")
    part.replace(path)


def with_deepeval(job: Job) -> None:
    """Ask, judge and leave DeepEval's own `test_run_*.json`."""
    rows = asyncio.run(answers(job))
    write(job, "answers.json", rows)
    cases = {case["id"]: case for case in job["cases"]}
    tests = [_deepeval_test(cases[row["case"]], row) for row in rows if not row["error"]]
    if not tests:
        return
    configs, kinds = import_module("deepeval.evaluate.configs"), import_module("deepeval.metrics")
    judge = import_module("deepeval.models").LocalModel(
        model=job["judge"]["model"],
        base_url=job["judge"]["base_url"],
        api_key=os.environ.get("SHIPWAY_JUDGE_KEY") or "none",
        temperature=0,
    )
    import_module("deepeval").evaluate(
        tests,
        [getattr(kinds, name)(model=judge, threshold=job["threshold"]) for name in job["metrics"]],
        async_config=configs.AsyncConfig(max_concurrent=job["concurrency"]),
        display_config=configs.DisplayConfig(
            show_indicator=False, print_results=False, results_folder=job["out"], inspect_after_run=False
        ),
        cache_config=configs.CacheConfig(write_cache=False),
        # A judge that fails leaves a metric without a score, which is read as an error; the others are still judged.
        error_config=configs.ErrorConfig(ignore_errors=True, skip_on_missing_params=True),
    )


def _deepeval_test(case: Mapping[str, Any], row: Mapping[str, Any]) -> Any:
    return import_module("deepeval.test_case").LLMTestCase(
        input=case["question"],
        actual_output=row["answer"],
        expected_output=case["reference"],
        context=case["context"] or None,
        retrieval_context=case["context"] or None,
        name=case["id"],
        metadata={"id": case["id"], "repeat": row["repeat"]},
    )


def with_ragas(job: Job) -> None:
    """Ask, judge and leave `ragas.json`: RAGAS itself writes nothing that tells a failure from a low score."""
    asyncio.run(_ragas(job))


async def _ragas(job: Job) -> None:
    rows = await answers(job)
    write(job, "answers.json", rows)
    cases = {case["id"]: case for case in job["cases"]}
    async with client_of(job["judge"], "SHIPWAY_JUDGE_KEY") as client:
        metrics = [_ragas_metric(name, job, client) for name in job["metrics"]]
        limit = asyncio.Semaphore(job["concurrency"])
        judged = await asyncio.gather(*(_ragas_row(cases[row["case"]], row, metrics, limit) for row in rows))
    version = import_module("importlib.metadata").version("ragas")
    write(job, "ragas.json", {"tool": "ragas", "schema": 1, "version": version, "rows": judged})


def _ragas_metric(name: str, job: Job, client: Any) -> Any:
    kind = getattr(import_module("ragas.metrics.collections"), name)
    wanted = inspect.signature(kind.__init__).parameters
    given: dict[str, Any] = {}
    if "llm" in wanted:
        given["llm"] = import_module("ragas.llms").llm_factory(job["judge"]["model"], client=client)
    if "embeddings" in wanted:
        factory = import_module("ragas.embeddings.base").embedding_factory
        given["embeddings"] = factory("openai", model=job["judge"]["embedding_model"], client=client)
    return kind(**given)


async def _ragas_row(
    case: Mapping[str, Any], row: Mapping[str, Any], metrics: list[Any], limit: asyncio.Semaphore
) -> dict[str, Any]:
    found: dict[str, Any] = {"case": row["case"], "repeat": row["repeat"], "question": case["question"]}
    scores: dict[str, float | None] = {}
    errors: dict[str, str] = {}
    has = {
        "user_input": case["question"],
        "response": row["answer"],
        "reference": case["reference"],
        "retrieved_contexts": case["context"],
        "reference_contexts": case["context"],
    }
    for metric in metrics:
        wanted = inspect.signature(metric.ascore).parameters
        if any(not has.get(name) for name in wanted if name != "response"):
            # The case lacks what the metric compares with: it does not apply.
            scores[metric.name] = None
        elif row["error"]:
            errors[metric.name] = row["error"]
        else:
            async with limit:
                await _ragas_score(metric, {name: has[name] for name in wanted}, scores, errors)
    return {**found, "scores": scores, "errors": errors}


async def _ragas_score(
    metric: Any, given: Mapping[str, Any], scores: dict[str, float | None], errors: dict[str, str]
) -> None:
    try:
        score = float((await metric.ascore(**given)).value)
    except Exception as error:  # noqa: BLE001 - whatever it is, it is why this score is missing
        errors[metric.name] = _said(error)
        return
    if math.isfinite(score):
        scores[metric.name] = score
    else:
        errors[metric.name] = f"the score is {score}, which is not a number"


def with_inspect(job: Job) -> None:
    """Run the cases as an Inspect task, which leaves its own log."""
    tool, samples = import_module("inspect_ai"), import_module("inspect_ai.dataset")
    scorers = import_module("inspect_ai.scorer")
    judge = f"openai-api/judge/{job['judge']['model']}"
    cases = [
        samples.Sample(
            id=case["id"], input=_inspect_input(case), target=case["reference"] or "", metadata={"id": case["id"]}
        )
        for case in job["cases"]
    ]
    chosen = [
        getattr(scorers, name)(model=judge) if name.startswith("model_graded") else getattr(scorers, name)()
        for name in job["metrics"]
    ]
    task = tool.Task(
        dataset=samples.MemoryDataset(cases), solver=import_module("inspect_ai.solver").generate(), scorer=chosen
    )
    tool.eval(
        task,
        model=f"openai-api/target/{job['target']['model']}",
        epochs=job["repeats"],
        max_connections=job["concurrency"],
        max_retries=1,
        timeout=int(job["target"]["timeout_s"]),
        # One sample that fails is one error; the others are still asked.
        fail_on_error=False,
        log_dir=job["out"],
        log_format="json",
        display="plain",
    )


def _inspect_input(case: Mapping[str, Any]) -> Any:
    if not case["messages"]:
        return case["question"]
    kinds = import_module("inspect_ai.model")
    roles = {"system": "ChatMessageSystem", "user": "ChatMessageUser", "assistant": "ChatMessageAssistant"}
    turns = [*case["messages"], {"role": "user", "content": case["question"]}]
    return [getattr(kinds, roles[turn["role"]])(content=turn["content"]) for turn in turns]


def _said(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"[:_LONGEST_ERROR]


_WITH = {"deepeval": with_deepeval, "ragas": with_ragas, "inspect": with_inspect}

if __name__ == "__main__":
    _WITH[sys.argv[1]](json.loads(Path(sys.argv[2]).read_text(encoding="utf-8")))
