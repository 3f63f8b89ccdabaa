"""Run DeepEval, RAGAS and Inspect: a dataset through `driver`, or the user's own file of the tool.

The driver runs in the tool's environment, outside of Shipway's: it reads a job and leaves files.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio

from shipway.adapters.evaluation_tools.environments import Environments
from shipway.adapters.evaluation_tools.runs import found_report, ran
from shipway.core.errors import UsageError
from shipway.core.findings import FindingReport
from shipway.evals.model import Case
from shipway.evals.tools.ports import Endpoint, ToolName, ToolRequest
from shipway.evals.tools.scored import completed

_DRIVER = Path(__file__).with_name("driver.py")
_OWN = ".py"
_JOB = "job.json"
_ANSWERS = "answers.json"


@dataclass(frozen=True, slots=True)
class _Tool:
    """A tool: where its results are, and which of its metrics are asked for by default."""

    name: ToolName
    results: str
    metrics: tuple[str, ...]


_TOOLS = {
    "deepeval": _Tool("deepeval", "test_run_*.json", ("AnswerRelevancyMetric", "FaithfulnessMetric")),
    "ragas": _Tool("ragas", "ragas.json", ("Faithfulness", "FactualCorrectness")),
    "inspect": _Tool("inspect", "*_task_*.json", ("includes",)),
}


async def run_driver(environments: Environments, name: ToolName, request: ToolRequest) -> FindingReport:
    """Return what a tool found in a target's answers to the cases, or in the user's own file.

    Raises:
        NotFoundError: it is not installed.
        UsageError: there is neither a case nor a file of the tool, or a metric's name is none.
    """
    tool = _TOOLS[name]
    if request.source.suffix == _OWN:
        return await _run_own(environments, tool, request)
    if not request.cases:
        raise UsageError(f"{request.source.name}: has no case", hint=f"give {name} a dataset with cases")
    metrics = request.metrics or tool.metrics
    wrong = [metric for metric in metrics if not metric.isidentifier() or metric.startswith("_")]
    if wrong:
        raise UsageError(f"--metric {wrong[0]!r} is no name of {name}", hint=f"such as {tool.metrics[0]}")
    python = environments.python(name)
    job = json.dumps(_job(request, metrics), ensure_ascii=False)
    await anyio.Path(request.folder / _JOB).write_text(job, encoding="utf-8")
    # -P: what stands beside the driver is not for the tool to import.
    argv = [str(python), "-P", str(_DRIVER), name, str(request.folder / _JOB)]
    ended = await ran(environments, argv, request, _keys(request))
    answers = await _answers(request.folder)
    wanted = [(case.id, repeat) for case in request.cases for repeat in range(request.repeats)]
    errors = {place: error for place, error in answers.items() if error}
    file = await _newest(request.folder, tool.results)
    if answers and len(errors) == len(wanted) and ended.code == 0 and not await anyio.Path(file).is_file():
        # The target answered nothing at all, so that there was nothing to judge: each case says why.
        return completed(FindingReport(name, "", ()), wanted, errors)
    report = await found_report(name, file, ended, fine=(0,), request=request)
    return completed(report, wanted, errors)


async def _run_own(environments: Environments, tool: _Tool, request: ToolRequest) -> FindingReport:
    source = request.source.resolve()
    if tool.name == "deepeval":
        argv = [str(environments.program("deepeval", "deepeval")), "test", "run", str(source)]
        argv += ["--repeat", str(request.repeats)] if request.repeats > 1 else []
        # As of pytest: some failed. DeepEval's own file says which.
        fine: Sequence[int] = (0, 1)
    elif tool.name == "inspect":
        argv = [str(environments.program("inspect", "inspect")), "eval", source.name]
        argv += ["--model", f"openai-api/target/{request.target.model}", "--epochs", str(request.repeats)]
        argv += ["--log-format", "json", "--log-dir", str(request.folder), "--display", "plain", "--no-fail-on-error"]
        argv += ["--max-connections", str(request.concurrency)]
        fine = (0,)
    else:
        raise UsageError(f"{source.name}: {tool.name} has no file of its own to run", hint="give it a dataset")
    ended = await ran(environments, argv, request, _keys(request), folder=source.parent)
    file = await _newest(request.folder, tool.results if tool.name == "deepeval" else "*.json")
    return await found_report(tool.name, file, ended, fine=fine, request=request)


def _keys(request: ToolRequest) -> dict[str, str]:
    """Return the variables by which the tools find their endpoints; keys stand in no file."""
    target, judge = request.target.api_key or "none", request.judge.api_key or "none"
    return {
        "SHIPWAY_TARGET_KEY": target,
        "SHIPWAY_JUDGE_KEY": judge,
        "SHIPWAY_TARGET_URL": request.target.base_url,
        "SHIPWAY_TARGET_MODEL": request.target.model,
        "SHIPWAY_JUDGE_URL": request.judge.base_url,
        "SHIPWAY_JUDGE_MODEL": request.judge.model,
        "TARGET_BASE_URL": request.target.base_url,
        "TARGET_API_KEY": target,
        "JUDGE_BASE_URL": request.judge.base_url,
        "JUDGE_API_KEY": judge,
        "OPENAI_BASE_URL": request.judge.base_url,
        "OPENAI_API_KEY": judge,
        "DEEPEVAL_RESULTS_FOLDER": str(request.folder),
        "DEEPEVAL_CACHE_FOLDER": str(request.folder / ".deepeval"),
        "INSPECT_LOG_DIR": str(request.folder),
    }


def _job(request: ToolRequest, metrics: Sequence[str]) -> dict[str, Any]:
    return {
        "cases": [_case(case) for case in request.cases],
        "repeats": request.repeats,
        "concurrency": request.concurrency,
        "target": _endpoint(request.target, request.case_timeout_s),
        "judge": _endpoint(request.judge, request.case_timeout_s),
        "metrics": list(metrics),
        "threshold": request.threshold,
        "out": str(request.folder),
    }


def _case(case: Case) -> dict[str, Any]:
    return {
        "id": case.id,
        "question": case.question,
        "reference": case.reference,
        "context": list(case.context),
        "messages": [dict(turn) for turn in case.messages],
    }


def _endpoint(endpoint: Endpoint, timeout_s: float) -> dict[str, Any]:
    return {
        "base_url": endpoint.base_url,
        "model": endpoint.model,
        "embedding_model": endpoint.embedding_model or endpoint.model,
        "timeout_s": timeout_s,
    }


async def _answers(folder: Path) -> dict[tuple[str, int], str]:
    """Return why cases have no answer, empty for those that have one, as the driver left it."""
    try:
        rows = json.loads(await anyio.Path(folder / _ANSWERS).read_bytes())
    except (OSError, ValueError):
        return {}
    return {(row["case"], row["repeat"]): row["error"] for row in rows}


async def _newest(folder: Path, pattern: str) -> Path:
    found = [Path(item) async for item in anyio.Path(folder).glob(pattern) if item.name not in {_JOB, _ANSWERS}]
    return max(found, key=lambda file: (file.stat().st_mtime_ns, file.name), default=folder / pattern)
