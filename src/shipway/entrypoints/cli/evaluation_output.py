"""How `shipway eval` prints an evaluation, writes its reports and leaves with the code of its verdict."""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import typer

from shipway.core.errors import StoreError
from shipway.core.verdicts import Verdict
from shipway.entrypoints.cli.output import emit, table, warn
from shipway.entrypoints.failures import VERDICT_EXIT_CODES, failure_of
from shipway.evals.budget import Estimate
from shipway.evals.report import gate_lines, missing_lines, regression_lines, tag_table
from shipway.evals.report_files import write_reports
from shipway.evals.report_forms import as_json as report_as_json
from shipway.services.evaluations import Evaluation


def finish(done: Evaluation, reports: Mapping[str, Path], cases: int, *, as_json: bool) -> None:
    """Print an evaluation, write its reports, and leave.

    Raises:
        Exit: always, with the verdict's code, or that of a report that could not be written.
    """
    unwritten = anyio.run(partial(write_reports, done, reports, places=done.places)) if reports else []
    emit(_value(done, unwritten), _lines(done, cases), as_json=as_json)
    if unwritten:
        # The verdict stands above and in the store; whoever waits for the file must not take this for a PASS.
        stored = f"the verdict is {done.verdict.value} and is stored, but the report is not written"
        warn(f"{stored}: {_each_once(unwritten)}")
        raise typer.Exit(failure_of(unwritten[0]).exit_code)
    if not done.judged:
        raise typer.Exit(VERDICT_EXIT_CODES[Verdict.ERROR] if done.problem else 0)
    if done.verdict is Verdict.ERROR and done.directory is not None and not as_json:
        warn("answers are kept: the same command with --resume asks again only what failed")
    raise typer.Exit(VERDICT_EXIT_CODES[done.verdict])


def estimate_lines(found: Estimate) -> list[str]:
    """Return an estimate for people."""
    spent = found.spent
    usd = "nobody names a price" if spent.usd is None else f"${spent.usd:,.4f}"
    if found.unknown:
        return [
            f"calls       {spent.calls:,}",
            f"tokens in   {spent.tokens_in:,}",
            "tokens out  not known",
            "cost        not known",
            f"by          {found.basis}",
            found.unknown,
        ]
    return [
        f"calls       {spent.calls:,}",
        f"tokens in   {spent.tokens_in:,}",
        f"tokens out  {spent.tokens_out:,}",
        f"cost        {usd}",
        f"by          {found.basis}",
    ]


def estimate_value(found: Estimate) -> dict[str, Any]:
    """Return an estimate for programs."""
    spent = found.spent
    return {
        "calls": spent.calls,
        "tokens_in": spent.tokens_in,
        "tokens_out": None if found.unknown else spent.tokens_out,
        "usd": spent.usd,
        "basis": found.basis,
        "unknown": found.unknown or None,
    }


def _value(done: Evaluation, unwritten: Sequence[StoreError]) -> dict[str, Any]:
    value = {
        "evaluation": done.id or None,
        "release": done.release,
        "baseline": done.baseline,
        **report_as_json(done.report),
        "worse": [item.case.id for item in done.worse],
        "run": done.run_id,
        "directory": str(done.directory),
        "cost": dict(done.cost),
        "looks": done.looks,
    }
    if not done.judged:
        value |= {"verdict": None, "problem": done.problem or None}
    return value | ({"report_error": _each_once(unwritten)} if unwritten else {})


def _each_once(errors: Sequence[StoreError]) -> str:
    return "; ".join(dict.fromkeys(map(str, errors)))


def _lines(done: Evaluation, cases: int) -> list[str]:
    tags = tag_table(done.run, list(done.metrics), done.metrics) if done.whole else []
    against = done.baseline or "thresholds alone (first release)"
    lines = [f"{done.release} against {against}", *gate_lines(done.report)] if done.judged else [_answered(done)]
    lines += ["", *table(list(tags[0]), [list(row.values()) for row in tags])] if tags else []
    if done.whole and not done.judged:
        # Gates say it where there are any.
        lines += missing_lines(done.run, list(done.metrics), done.metrics)
    if done.worse:
        lines += ["", f"worse than {done.baseline}: {len(done.worse)} cases", *regression_lines(done.worse[:cases])]
    if done.cost.get("usd"):
        lines += ["", f"cost ${done.cost['usd']:.4f}"]
    return lines


def _answered(done: Evaluation) -> str:
    what = "not judged (--no-gates)" if done.whole else "one shard; `shipway eval merge` judges the whole"
    said = f"{len(done.run.results)} answers of {done.release} in {done.directory}: {what}"
    return f"{said}\nERROR: {done.problem}" if done.problem else said
