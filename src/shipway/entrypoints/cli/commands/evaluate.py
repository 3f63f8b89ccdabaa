"""`shipway eval`: evaluate a release and gate it."""

import json
from pathlib import Path
from typing import Annotated, Any

import anyio
import typer

from shipway.core.disk import disk_error, require_writable_file
from shipway.core.errors import GateRefusedError, StoreError, UnavailableError
from shipway.core.verdicts import Verdict
from shipway.entrypoints.cli.options import DebugOption, JsonOption, ProjectOption, command_group
from shipway.entrypoints.cli.output import emit, table, warn
from shipway.entrypoints.cli.progress import evaluation_progress
from shipway.entrypoints.evaluation_parts import evaluation_targets
from shipway.entrypoints.failures import VERDICT_EXIT_CODES, failure_of
from shipway.entrypoints.wiring import opened
from shipway.evals.report import gate_lines, regression_lines, tag_table
from shipway.evals.report_forms import as_json as report_as_json
from shipway.evals.report_forms import markdown
from shipway.services.evaluations import (
    Evaluation,
    EvaluationRequest,
    comparable_runs,
    evaluate,
    stored_run,
)
from shipway.services.gates import gate_specs
from shipway.services.runs import compared_runs

group = command_group("Evaluate a release and gate it.")
_SHOWN_CASES = 5


@group.command()
def run(
    release: Annotated[str, typer.Argument(help="A release id or the beginning of one.")],
    baseline: Annotated[str, typer.Option(help="Compare with this release instead of what is stable now.")] = "",
    dataset: Annotated[str, typer.Option(help="Another dataset than the project's.")] = "",
    repeats: Annotated[int | None, typer.Option(min=1, max=100)] = None,
    concurrency: Annotated[int | None, typer.Option(min=1, max=256)] = None,
    markdown_file: Annotated[Path | None, typer.Option("--markdown", help="Write a report for a pull request.")] = None,
    cases: Annotated[int, typer.Option(min=0, help="Show so many cases that got worse.")] = _SHOWN_CASES,
    *,
    project: ProjectOption = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Run a release, and what is stable now interleaved, on the same cases; judge by the project's gates.

    Exit code: 0 PASS, 1 FAIL, 3 ERROR, 4 INCONCLUSIVE or NO_DATA; 3 also when the report could not be written.
    """
    del debug
    if markdown_file is not None:
        require_writable_file(markdown_file, "--markdown")
    request = EvaluationRequest(release, baseline, dataset, repeats, concurrency)

    def tell(line: str) -> None:
        if not as_json:
            typer.echo(line, err=True)

    async def act() -> tuple[Evaluation, list[str]]:
        async with opened(project) as app, evaluation_targets(app, tell) as targets:
            names = list(dict.fromkeys(spec.metric for spec in gate_specs(app.project)))
            with evaluation_progress(shown=not as_json) as progress:
                return await evaluate(app, request, targets, progress), names

    try:
        done, metrics = anyio.run(act)
    except UnavailableError as error:
        if not as_json:
            raise
        emit(_unanswered(release, error), (), as_json=True)
        raise typer.Exit(VERDICT_EXIT_CODES[Verdict.ERROR]) from error
    unwritten = None if markdown_file is None else _write_report(markdown_file, done, metrics)
    value = {
        "evaluation": done.id,
        "release": done.release,
        "baseline": done.baseline,
        **report_as_json(done.report),
        "worse": [item.case.id for item in done.worse],
        **({"report_error": str(unwritten)} if unwritten else {}),
    }
    emit(value, _result_lines(done, metrics, cases), as_json=as_json)
    if unwritten is not None:
        # The verdict stands above and in the store; whoever waits for the file must not take this for a PASS.
        warn(f"the verdict is {done.verdict.value} and is stored, but the report is not written: {unwritten}")
        raise typer.Exit(failure_of(unwritten).exit_code)
    raise typer.Exit(VERDICT_EXIT_CODES[done.verdict])


@group.command()
def compare(
    before: Annotated[str, typer.Argument(help="An evaluated release.")],
    after: Annotated[str, typer.Argument(help="Another one.")],
    *,
    project: ProjectOption = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Show the latest evaluations of two releases side by side; runs that measured different things are refused."""
    del debug

    async def read() -> dict[str, Any]:
        async with opened(project) as app:
            first, second = await stored_run(app, before), await stored_run(app, after)
            different = comparable_runs(first, second)
            if different:
                raise GateRefusedError(
                    Verdict.ERROR,
                    f"{first['release']} and {second['release']} were measured differently: {', '.join(different)}",
                    hint=f"evaluate both again: `shipway eval run {second['release']} --baseline {first['release']}`",
                )
            return await compared_runs(app, first, second)

    found = anyio.run(read)
    rows = [
        (name, _shown(item["before"]), _shown(item["after"]), _shown(item["difference"], signed=True), item["n"])
        for name, item in found["metrics"].items()
    ]
    lines = [f"{found['before']} -> {found['after']}", *table(("metric", "before", "after", "change", "n"), rows)]
    lines += [f"{name}: {json.dumps(change)}" for name, change in found["changed_cases"].items()]
    emit(found, lines, as_json=as_json)


def _result_lines(done: Evaluation, metrics: list[str], cases: int) -> list[str]:
    tags = tag_table(done.run, metrics)
    lines = [
        f"{done.release} against {done.baseline or 'thresholds alone (first release)'}",
        *gate_lines(done.report),
        *(["", *table(list(tags[0]), [list(row.values()) for row in tags])] if tags else []),
    ]
    if done.worse:
        lines += ["", f"worse than {done.baseline}: {len(done.worse)} cases", *regression_lines(done.worse[:cases])]
    return lines


def _write_report(path: Path, done: Evaluation, metrics: list[str]) -> StoreError | None:
    """Write the report for a pull request; return what is wrong where that fails, for the verdict comes first."""
    text = markdown(done.report, tag_table(done.run, metrics), done.worse)
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        return disk_error(error, path, "cannot be written")
    return None


def _unanswered(release: str, error: UnavailableError) -> dict[str, Any]:
    """Return what programs read when nobody answered: the verdict, and why no gate has one."""
    said = {"type": type(error).__name__, "message": str(error), "exit_code": VERDICT_EXIT_CODES[Verdict.ERROR]}
    return {"release": release, "verdict": Verdict.ERROR.value, "error": said}


def _shown(value: float | None, *, signed: bool = False) -> str:
    return "-" if value is None else f"{value:+.3f}" if signed else f"{value:.3f}"
