"""Running and reading other people's evaluation tools, and judging what they found by the project's gates.

`shipway eval tool` calls this. The tools ask a target that the project names, or any OpenAI-compatible endpoint.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import mkdtemp

import anyio
import anyio.to_thread

from shipway.config.project import Project
from shipway.core.errors import ConfigError, DocumentError, NotFoundError, UsageError
from shipway.core.findings import FindingReport
from shipway.evals.gate_spec import GateSpec, parse_gates
from shipway.evals.model import Case
from shipway.evals.rows import FileForm
from shipway.evals.suggestions import did_you_mean
from shipway.evals.tools.files import read_results
from shipway.evals.tools.gating import ToolVerdict, is_tool_metric, judged
from shipway.evals.tools.ports import Endpoint, EvaluationTools, ToolName, ToolRequest
from shipway.evals.tools.scored import THRESHOLD
from shipway.services.application import Application
from shipway.services.dataset_files import entry_named, form_of, read_dataset_file

_ADDRESS = re.compile(r"https?://[^/\s]+")
_DATASET_TOOLS = frozenset({"deepeval", "ragas", "inspect"})
_OWN_FILE = ".py"
_LARGEST_BYTES = 500_000_000

EngineOf = Callable[[str], Endpoint]
"""Returns the endpoint behind a model alias of the project."""


@dataclass(frozen=True, slots=True)
class RunOptions:
    """How to run a tool.

    `target` and `judge` are aliases of `models`, or `ADDRESS#MODEL` with an address up to and including `/v1`; the keys
    are for addresses. Without a judge the target judges.
    """

    target: str
    judge: str = ""
    target_key: str = field(default="", repr=False)
    judge_key: str = field(default="", repr=False)
    embedding_model: str = ""
    metrics: tuple[str, ...] = ()
    repeats: int = 1
    concurrency: int = 4
    threshold: float = THRESHOLD
    timeout_s: float = 600.0
    case_timeout_s: float = 60.0
    out: Path | None = None


@dataclass(frozen=True, slots=True)
class JudgeBy:
    """What results are judged by: gates of the project, and what an earlier release got."""

    specs: Sequence[GateSpec] = ()
    baseline: Path | None = None
    first_release: bool = False
    threshold: float = THRESHOLD


@dataclass(frozen=True, slots=True)
class ToolOutcome:
    """What a tool found, what it means, and where its files are."""

    found: ToolVerdict
    folder: Path
    files: tuple[str, ...] = field(default=())


def tool_gates(project: Project) -> list[GateSpec]:
    """Return the gates on metrics of tools; `eval run` leaves them out, and these commands leave out the others.

    Raises:
        UsageError: a gate that makes no sense.
    """
    wanted = [gate for gate in project.gates if is_tool_metric(gate.metric)]
    return parse_gates([gate.model_dump(exclude_defaults=True) for gate in wanted])


async def run_tool(
    app: Application, tools: EvaluationTools, name: ToolName, source: Path, options: RunOptions, engine_of: EngineOf
) -> tuple[FindingReport, Path]:
    """Run a tool on its own file, or on a dataset of Shipway's; return what it found and the folder it wrote into.

    Raises:
        NotFoundError: the tool is not installed, or there is no such file, dataset or model.
        DatasetError: everything that is wrong with the dataset.
        UsageError: the tool cannot run this.
    """
    cases: tuple[Case, ...] = ()
    if name in _DATASET_TOOLS and source.suffix != _OWN_FILE:
        cases = await _cases(app, source)
    elif not await anyio.Path(source).is_file():
        raise NotFoundError(f"{source}: no such file", hint=f"give the file that {name} runs")
    target = endpoint(app, options.target, options.target_key, engine_of)
    judge = endpoint(app, options.judge, options.judge_key, engine_of) if options.judge else target
    request = ToolRequest(
        source=source,
        target=target,
        judge=Endpoint(judge.base_url, judge.model, judge.api_key, options.embedding_model),
        folder=await anyio.to_thread.run_sync(_folder, app.loaded.root, name, options.out),
        cases=cases,
        metrics=options.metrics,
        repeats=options.repeats,
        concurrency=options.concurrency,
        threshold=options.threshold,
        timeout_s=options.timeout_s,
        case_timeout_s=options.case_timeout_s,
    )
    return await tools.run(name, request), request.folder


async def judge_report(name: ToolName, report: FindingReport, by: JudgeBy) -> ToolVerdict:
    """Return what results mean by gates, beside those of a baseline where one is given.

    Raises:
        DocumentError: the baseline is no result of the tool.
        UsageError: a gate on what the tool did not score, or one that so few cases cannot decide.
        GateRefusedError: the baseline cannot be compared.
    """
    baseline = None if by.baseline is None else await read_report(name, by.baseline, threshold=by.threshold)
    return await anyio.to_thread.run_sync(lambda: judged(report, baseline, by.specs, first_release=by.first_release))


async def read_report(name: ToolName, file: Path, *, threshold: float = THRESHOLD) -> FindingReport:
    """Return what a result file of a tool says; samples of lm-eval are read from beside it.

    Raises:
        NotFoundError: there is no such file.
        DocumentError: it is no result of the tool, is cut off, or of another version.
    """
    data = await _read(file)
    beside = {}
    if name == "lm-eval":
        # One run's files carry one date, and a folder may have several runs.
        date = file.stem.removeprefix("results_")
        beside = {item.name: await _read(item) for item in sorted(file.parent.glob(f"samples_*_{date}.jsonl"))}
    return await anyio.to_thread.run_sync(lambda: read_results(name, data, str(file), beside, threshold=threshold))


def endpoint(app: Application, named: str, key: str, engine_of: EngineOf) -> Endpoint:
    """Return the endpoint that an alias or `ADDRESS#MODEL` stands for; `key` is that of an address.

    Raises:
        UsageError: an address without a model, or what is neither.
        NotFoundError: the engine of an alias does not run.
    """
    if _ADDRESS.match(named):
        address, _, model = named.partition("#")
        if not model:
            raise UsageError(f"{named}: which model of this endpoint?", hint=f"write it after #: {address}#MODEL")
        return Endpoint(address.rstrip("/"), model, key)
    models = app.project.models
    if named not in models:
        hint = did_you_mean(named, models) if models else "give an address like http://127.0.0.1:8000/v1#MODEL"
        raise UsageError(f"there is no model {named!r} in models", hint=hint)
    if models[named].engine == "azure":
        raise UsageError(
            f"models.{named}: the tools do not speak Azure's form of the API",
            hint="put a route of the gateway before it, and give that as the target",
        )
    found = engine_of(named)
    return Endpoint(found.base_url, found.model, found.api_key, max_tokens=models[named].max_out)


async def _cases(app: Application, source: Path) -> tuple[Case, ...]:
    entry = entry_named(app.loaded, str(source))
    path, shown = (source, str(source)) if entry is None else (app.loaded.root / entry.path, entry.path)
    try:
        form = FileForm() if entry is None else form_of(entry)
        return (await read_dataset_file(path, shown, form)).dataset.cases
    except OSError as error:
        raise NotFoundError(
            f"{shown}: {error.strerror or error}", hint="give a file of cases, or a name of the section datasets"
        ) from error


async def _read(file: Path) -> bytes:
    try:
        if (await anyio.Path(file).stat()).st_size > _LARGEST_BYTES:
            raise DocumentError(file, f"is larger than {_LARGEST_BYTES // 1_000_000} MB")
        return await anyio.Path(file).read_bytes()
    except OSError as error:
        raise NotFoundError(f"{file}: cannot be read: {error.strerror or error}") from error


def _folder(root: Path, name: str, out: Path | None) -> Path:
    if out is None:
        parent = root / ".shipway" / "runs" / "tools"
        parent.mkdir(parents=True, exist_ok=True)
        return Path(mkdtemp(prefix=f"{name}-", dir=parent))
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ConfigError([f"--out {out}: is there already and not an empty folder"], hint="give another one")
    out.mkdir(parents=True, exist_ok=True)
    return out.resolve()
