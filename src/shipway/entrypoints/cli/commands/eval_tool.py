"""`shipway eval tool`: run and read promptfoo, lm-eval, DeepEval, RAGAS and Inspect; judge them by the same gates."""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import anyio
import typer

from shipway.core.errors import UsageError
from shipway.core.findings import findings_lines
from shipway.core.verdicts import Verdict
from shipway.entrypoints.cli.options import DebugOption, JsonOption, ProjectOption, command_group
from shipway.entrypoints.cli.output import emit
from shipway.entrypoints.failures import VERDICT_EXIT_CODES
from shipway.entrypoints.tool_parts import address_keys, engine_of, great_expectations, local_tools, tools_folder
from shipway.entrypoints.wiring import opened
from shipway.evals.report import gate_lines
from shipway.evals.report_forms import as_json as report_as_json
from shipway.evals.suggestions import did_you_mean
from shipway.evals.tools.gating import ToolVerdict
from shipway.evals.tools.ports import TOOLS, ToolName
from shipway.evals.tools.scored import THRESHOLD
from shipway.services.tool_runs import JudgeBy, RunOptions, judge_report, read_report, run_tool, tool_gates

group = command_group("Run and read other people's evaluation tools, each in an environment of its own.")

NameArgument = Annotated[str, typer.Argument(help=f"The tool: {', '.join(TOOLS)}.")]
ToolsOption = Annotated[
    Path | None, typer.Option("--tools", help="Where the environments are; by default the project's .shipway/tools.")
]
BaselineOption = Annotated[
    Path | None, typer.Option(help="The result file of the release before, for gates with non_regression.")
]
FirstOption = Annotated[bool, typer.Option(help="There is no release before: thresholds decide alone.")]
ThresholdOption = Annotated[
    float, typer.Option(min=0, max=1, help="From which score on an answer is right, where the tool has no limit.")
]


_EXPECTATIONS = "great-expectations"


@group.command()
def install(
    name: Annotated[str, typer.Argument(help=f"The tool: {', '.join((*TOOLS, _EXPECTATIONS))}.")],
    tools: ToolsOption = None,
    *,
    project: ProjectOption = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Make the environment of a tool anew, with every package pinned by hash; the tools take 0.2 to 0.9 GB each."""
    del debug
    tool = None if name == _EXPECTATIONS else _tool(name)

    async def act(place: Path) -> Path:
        if tool is None:
            return await great_expectations(place).install()
        return await local_tools(place).install(tool)

    async def act_in_project() -> Path:
        async with opened(project) as app:
            return await act(tools_folder(app))

    # A folder that is named needs no project around it.
    folder = anyio.run(act_in_project) if tools is None else anyio.run(act, tools)
    emit({"tool": tool or name, "folder": folder}, [f"{tool or name} is installed in {folder}"], as_json=as_json)


@group.command()
def run(
    name: NameArgument,
    source: Annotated[Path, typer.Argument(help="The tool's own file; for deepeval, ragas, inspect also a dataset.")],
    target: Annotated[
        str, typer.Option(help="What is asked: a key of models, or ADDRESS#MODEL with an address up to /v1.")
    ],
    judge: Annotated[str, typer.Option(help="Who judges, like --target; by default the target.")] = "",
    embedding_model: Annotated[str, typer.Option(help="The model for similarities, at the judge's address.")] = "",
    metric: Annotated[
        list[str] | None, typer.Option(help="A metric by the tool's own name, such as FaithfulnessMetric; repeatable.")
    ] = None,
    repeats: Annotated[int, typer.Option(min=1, max=100, help="How often each case is asked.")] = 1,
    concurrency: Annotated[int, typer.Option(min=1, max=256, help="How many are asked at once.")] = 4,
    threshold: ThresholdOption = THRESHOLD,
    timeout: Annotated[float, typer.Option(min=1, help="Seconds for the whole run.")] = 600.0,
    case_timeout: Annotated[float, typer.Option(min=1, help="Seconds for one answer.")] = 60.0,
    out: Annotated[Path | None, typer.Option(help="A new folder for what the tool writes.")] = None,
    tools: ToolsOption = None,
    baseline: BaselineOption = None,
    *,
    first_release: FirstOption = False,
    project: ProjectOption = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Run a tool against a target, offline but for that, and judge what it found by the project's gates on it.

    The keys of addresses are read from SHIPWAY_TARGET_KEY and SHIPWAY_JUDGE_KEY.

    Exit code: 0 PASS, 1 FAIL, 2 the tool cannot run this, 3 ERROR, 4 INCONCLUSIVE or NO_DATA.
    """
    del debug
    tool = _tool(name)
    options = RunOptions(
        target,
        judge,
        *address_keys(),
        embedding_model,
        tuple(metric or ()),
        repeats,
        concurrency,
        threshold,
        timeout,
        case_timeout,
        out,
    )

    async def act() -> tuple[ToolVerdict, Path]:
        async with opened(project) as app:
            by = JudgeBy(tool_gates(app.project), baseline, first_release, threshold)
            report, folder = await run_tool(
                app, local_tools(tools or tools_folder(app)), tool, source, options, engine_of(app)
            )
            return await judge_report(tool, report, by), folder

    found, folder = anyio.run(act)
    _show(found, folder, as_json=as_json)


@group.command()
def read(
    name: NameArgument,
    file: Annotated[Path, typer.Argument(help="What the tool wrote; lm-eval's samples are read from beside it.")],
    threshold: ThresholdOption = THRESHOLD,
    baseline: BaselineOption = None,
    *,
    first_release: FirstOption = False,
    project: ProjectOption = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Judge a result file that a tool wrote elsewhere; nothing is run.

    Exit code: 0 PASS, 1 FAIL, 2 it cannot be read, 3 ERROR, 4 INCONCLUSIVE or NO_DATA.
    """
    del debug
    tool = _tool(name)

    async def act() -> ToolVerdict:
        async with opened(project) as app:
            by = JudgeBy(tool_gates(app.project), baseline, first_release, threshold)
            return await judge_report(tool, await read_report(tool, file, threshold=threshold), by)

    _show(anyio.run(act), None, as_json=as_json)


def _tool(name: str) -> ToolName:
    known: dict[str, ToolName] = {tool: tool for tool in TOOLS}
    wanted = name.lower().replace("_", "-")
    if wanted not in known:
        raise UsageError(f"there is no tool {name!r}", hint=did_you_mean(wanted, known))
    return known[wanted]


def _show(found: ToolVerdict, folder: Path | None, *, as_json: bool) -> None:
    emit(_value(found, folder), _lines(found, folder), as_json=as_json)
    raise typer.Exit(VERDICT_EXIT_CODES[found.verdict])


def _value(found: ToolVerdict, folder: Path | None) -> dict[str, Any]:
    report = found.report
    return {
        "suite": report.suite,
        "tool_version": report.tool_version,
        "verdict": found.verdict,
        "note": found.note,
        "folder": folder,
        "problems": list(report.problems),
        "metrics": {row[0]: dict(zip(_COUNTED, row[1:], strict=True)) for row in _counts(found)},
        "gates": None if found.gates is None else report_as_json(found.gates),
        "findings": [
            {
                "case": item.case_id,
                "repeat": item.repeat,
                "metric": item.metric or "pass",
                "verdict": item.verdict,
                "score": item.score,
                "message": item.message,
            }
            for item in report.findings
        ],
    }


_COUNTED = ("PASS", "FAIL", "ERROR")


def _counts(found: ToolVerdict) -> list[tuple[str, int, int, int]]:
    names = dict.fromkeys(item.metric for item in found.report.findings)
    rows = []
    for name in names:
        verdicts = [item.verdict for item in found.report.findings if item.metric == name]
        counts = [verdicts.count(verdict) for verdict in (Verdict.PASS, Verdict.FAIL, Verdict.ERROR)]
        rows.append((f"{found.report.suite}.{name or 'pass'}", counts[0], counts[1], counts[2]))
    return rows


def _lines(found: ToolVerdict, folder: Path | None) -> Iterator[str]:
    report = found.report
    yield f"{report.suite} {report.tool_version}".rstrip()
    for name, *counts in _counts(found):
        yield f"  {name}: " + ", ".join(f"{count} {word}" for word, count in zip(_COUNTED, counts, strict=True))
    yield from findings_lines(report)
    if found.gates is not None:
        yield from gate_lines(found.gates)
    if found.note:
        yield found.note
    if folder is not None:
        yield f"files of the run: {folder}"
    yield found.verdict.value
