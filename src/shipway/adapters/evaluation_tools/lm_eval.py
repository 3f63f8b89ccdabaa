"""Run a task of lm-eval against an endpoint: its YAML, with data files beside it. Source: lm_eval 0.4.13.

Every repeat is a run of its own with a seed of its own: lm-eval scores the first of several answers alone.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import yaml

from shipway.adapters.evaluation_tools.environments import Environments
from shipway.adapters.evaluation_tools.lm_eval_driver import MODEL as LIKELIHOODS_MODEL
from shipway.adapters.evaluation_tools.process import Ended
from shipway.adapters.evaluation_tools.runs import found_report, ran
from shipway.core.errors import UsageError
from shipway.core.findings import FindingReport
from shipway.evals.tools.ports import ToolRequest
from shipway.evals.tools.scored import merged, repeated

_CHAT = "local-chat-completions"
_DRIVER = Path(__file__).with_name("lm_eval_driver.py")
_LIKELIHOODS = frozenset({"loglikelihood", "multiple_choice"})
_NEEDED = (
    "it needs /v1/completions that takes echo: true and logprobs: 1 and tells tokens with their text_offset, as"
    " vLLM does; Shipway's embedded engine does not. Name such an endpoint by its address, or"
    " write the task with output_type: generate_until"
)
_PROBE_S = 60.0
_TASK = "give a task's YAML file, with task, dataset_path: json and data_files beside it"


class _Loader(yaml.SafeLoader):
    """Reads tags of lm-eval, such as `!function`, as what stands behind them."""


_Loader.add_multi_constructor("!", lambda loader, _tag, node: loader.construct_scalar(node))


async def run_lm_eval(environments: Environments, request: ToolRequest) -> FindingReport:
    """Return what lm-eval found, of all repeats.

    Raises:
        NotFoundError: it is not installed.
        UsageError: the file is no task, or one that the endpoint cannot answer.
    """
    program = [str(environments.program("lm-eval", "lm_eval"))]
    task, chat = task_of(await anyio.Path(request.source).read_text(encoding="utf-8"), request.source.name)
    if not chat:
        # -P: what stands beside the driver is not for the tool to import.
        program = [str(environments.python("lm-eval")), "-P", str(_DRIVER)]
        await _demand_likelihoods(environments, program, request)
    reports = []
    with anyio.move_on_after(request.timeout_s):
        for repeat in range(request.repeats):
            out = request.folder / f"repeat-{repeat}"
            argv = [*program, *_words(request, task, out, chat=chat, repeat=repeat)]
            keys = _keys(request)
            # The data files of a task are named from the folder that it is run in.
            ended = await ran(environments, argv, request, keys, folder=request.source.resolve().parent)
            file = await _newest(out)
            reports.append(repeated(await found_report("lm-eval", file, ended, fine=(0,), request=request), repeat))
    if len(reports) < request.repeats:
        late = Ended(None, "", request.timeout_s)
        reports.append(await found_report("lm-eval", request.folder / "none", late, fine=(), request=request))
    return merged(reports)


def task_of(text: str, shown: str) -> tuple[str, bool]:
    """Return a task's name, and whether it is put to a chat endpoint.

    Raises:
        UsageError: the text is no task of lm-eval.
    """
    try:
        # A subclass of SafeLoader: nothing is built but plain values.
        task = yaml.load(text, Loader=_Loader)  # noqa: S506
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise UsageError(f"{shown}: not YAML: {error}", hint=_TASK) from error
    if not isinstance(task, dict) or not isinstance(task.get("task"), str) or not task["task"].strip():
        raise UsageError(f"{shown}: names no task", hint=_TASK)
    if "," in task["task"]:
        raise UsageError(f"{shown}: task: {task['task']!r} has a comma, which separates tasks", hint=_TASK)
    kind = task.get("output_type", "generate_until")
    if kind != "generate_until" and kind not in _LIKELIHOODS:
        known = ", ".join(("generate_until", *sorted(_LIKELIHOODS)))
        raise UsageError(
            f"{shown}: output_type: {kind!r} has no score of single documents, and means cannot be gated",
            hint=f"there are {known}",
        )
    return task["task"].strip(), kind == "generate_until"


async def _demand_likelihoods(environments: Environments, program: list[str], request: ToolRequest) -> None:
    """Refuse an endpoint that cannot tell log-likelihoods, before a task is put to it.

    Raises:
        UsageError: what it lacks.
    """
    limit_s = min(request.case_timeout_s, _PROBE_S)
    argv = [*program, "probe", _url(request, chat=False), request.target.model, f"{limit_s:g}"]
    ended = await ran(environments, argv, request, _keys(request), timeout_s=2 * _PROBE_S)
    if ended.code != 0:
        said = ended.tail.splitlines()[-1] if ended.tail else ended.how
        raise UsageError(
            f"{request.source.name}: its output_type asks for log-likelihoods, which {request.target.model} at"
            f" {request.target.base_url} does not tell: {said}",
            hint=_NEEDED,
        )


def _keys(request: ToolRequest) -> dict[str, str]:
    return {"OPENAI_API_KEY": request.target.api_key or "none"}


def _url(request: ToolRequest, *, chat: bool) -> str:
    return f"{request.target.base_url.rstrip('/')}/{'chat/completions' if chat else 'completions'}"


def _words(request: ToolRequest, task: str, out: Path, *, chat: bool, repeat: int) -> Iterator[str]:
    settings: dict[str, Any] = {
        "model": request.target.model,
        "base_url": _url(request, chat=chat),
        "num_concurrent": request.concurrency,
        "max_retries": 2,
        "timeout": int(request.case_timeout_s),
        "seed": 1234 + repeat,
    }
    if not chat:
        # Nobody has the tokenizer of an endpoint's model; the driver goes by the places of tokens that it tells.
        settings |= {"tokenizer_backend": "None", "tokenized_requests": False}
    yield from ("run", "--model", _CHAT if chat else LIKELIHOODS_MODEL)
    yield from ("--model_args", ",".join(f"{name}={value}" for name, value in settings.items()))
    yield from ("--tasks", task, "--include_path", str(request.source.resolve().parent))
    yield from ("--output_path", str(out), "--log_samples")
    if chat:
        yield "--apply_chat_template"


async def _newest(out: Path) -> Path:
    found = [Path(item) async for item in anyio.Path(out).rglob("results_*.json")]
    return max(found, default=out / "results.json")
