"""How `shipway eval` prints an evaluation, writes its reports and leaves with the code of its verdict."""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import typer

from shipway.core.counting import counted, dollars
from shipway.core.errors import StoreError
from shipway.core.verdicts import Verdict
from shipway.entrypoints.cli.output import emit, table, warn
from shipway.entrypoints.failures import VERDICT_EXIT_CODES, failure_of
from shipway.evals.budget import Estimate
from shipway.evals.report import failure_lines, gate_lines, missing_lines, regression_lines, tag_table
from shipway.evals.report_failures import failures
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
    spent, judge = found.spent, found.judge
    usd = "nobody names a price" if spent.usd is None else f"${dollars(spent.usd)}"
    lines = [
        f"calls       {spent.calls:,}",
        f"tokens in   {'not known' if found.blind else f'{spent.tokens_in:,}'}",
        f"tokens out  {'not known' if found.unknown else f'{spent.tokens_out:,}'}",
        f"cost        {'not known' if found.unknown else usd}",
    ]
    if judge is not None:
        paid = "nobody names its price" if judge.usd is None else f"${dollars(judge.usd)}"
        share = f"{judge.calls:,} calls, {judge.tokens_in:,} tokens in, {judge.tokens_out:,} out, {paid}"
        lines.append(f"the judge   {share}" + ("" if found.unknown else " of these"))
    return [*lines, f"by          {found.basis}", *([found.unknown] if found.unknown else [])]


def estimate_value(found: Estimate) -> dict[str, Any]:
    """Return an estimate for programs."""
    spent, judge = found.spent, found.judge
    return {
        "calls": spent.calls,
        "tokens_in": None if found.blind else spent.tokens_in,
        "tokens_out": None if found.unknown else spent.tokens_out,
        "usd": spent.usd,
        "judge": None
        if judge is None
        else {
            "calls": judge.calls,
            "tokens_in": judge.tokens_in,
            "tokens_out": judge.tokens_out,
            "usd": judge.usd,
        },
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
        lines += ["", f"worse than {done.baseline}: {counted(len(done.worse), 'case')}"]
        lines += regression_lines(done.worse[:cases])
    if done.judged and done.baseline is None:
        lines += failure_lines(failures(done.run, done.report, done.metrics), cases)
    return [*lines, *_cost_lines(done.cost)]


def _cost_lines(cost: Mapping[str, float]) -> list[str]:
    """Return what answers and judgements cost; what is not known is said, what was free is not."""
    usd = cost.get("usd")
    found = ["cost not known: an answer did not tell it, or nobody names a price"] if usd is None else []
    if usd:
        found = [f"cost ${dollars(usd)}"]
    if cost.get("judge_calls"):
        paid = cost.get("judge_usd")
        told = "not known: nobody names a price" if paid is None else f"${dollars(paid)}"
        found.append(f"cost of judging {told} ({cost['judge_tokens_in'] + cost['judge_tokens_out']:,.0f} tokens)")
    return ["", *found] if found else []


def _answered(done: Evaluation) -> str:
    what = "not judged (--no-gates)" if done.whole else "one shard; `shipway eval merge` judges the whole"
    said = f"{len(done.run.results)} answers of {done.release} in {done.directory}: {what}"
    return f"{said}\nERROR: {done.problem}" if done.problem else said
