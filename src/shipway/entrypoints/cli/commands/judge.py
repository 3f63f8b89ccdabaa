"""`shipway judge`: find out whether a judge can be believed."""

import getpass
import os
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, get_args

import anyio
import typer

from shipway.core.clock import Clock
from shipway.core.disk import explained, require_writable_file
from shipway.core.errors import NotFoundError, UsageError
from shipway.core.verdicts import Verdict
from shipway.entrypoints.cli.options import DebugOption, JsonOption, ProjectOption, command_group
from shipway.entrypoints.cli.output import emit, table, warn
from shipway.entrypoints.cli.progress import bar
from shipway.entrypoints.failures import VERDICT_EXIT_CODES
from shipway.entrypoints.judge_parts import LocalJudgeParts
from shipway.entrypoints.wiring import opened
from shipway.evals.calibration import AnchorCheck, Calibration
from shipway.evals.judgement import Judgement, Task
from shipway.evals.judging import request_for, without_asking
from shipway.evals.labels import Label, lines, parse_labels
from shipway.evals.model import Case, Output
from shipway.evals.suggestions import did_you_mean
from shipway.services.judges.building import build_judge, judge_entry, project_cases
from shipway.services.judges.calibrating import Calibrated, calibrate_judge, check_judge, write_anchors
from shipway.services.labelling import (
    KEYS,
    QUESTIONS,
    Labelling,
    chosen,
    open_items,
    run_items,
    shown,
    tasks_without_passages,
)

group = command_group("Find out whether a judge can be believed: labels, calibration, anchors.")
_LABELS_FILE = "evals/labels.jsonl"
NameArgument = Annotated[str, typer.Argument(help="A judge of the project: a key of `judges`.")]
TaskOption = Annotated[str, typer.Option(help=f"What is asked: {', '.join(get_args(Task))}.")]


@group.command()
def calibrate(
    name: NameArgument,
    labels: Annotated[Path | None, typer.Option(help=f"Labels by people; by default {_LABELS_FILE}.")] = None,
    anchors: Annotated[
        Path | None, typer.Option("--write-anchors", help="Write what the judge says now; runs hold it to that.")
    ] = None,
    rate: Annotated[
        float | None, typer.Option(min=0, max=1, help="A judged rate to correct for the judge's errors.")
    ] = None,
    answers: Annotated[int, typer.Option(min=1, help="How many answers that rate is of.")] = 100,
    *,
    project: ProjectOption = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Have a judge judge what people have labelled; state its agreement, and how to correct its rates.

    Exit code: 0 agreement is good enough, 1 it is below min_kappa, 3 the judge fails, 4 the labels cannot tell.
    """
    del debug
    if anchors is not None:
        require_writable_file(anchors, "--write-anchors")

    async def act() -> Calibrated:
        async with opened(project) as app:
            judge_entry(app, name)
            async with build_judge(app, name, LocalJudgeParts(app)) as judge:
                with bar("judging", shown=not as_json) as step:
                    found = await calibrate_judge(app, judge, labels or app.loaded.root / _LABELS_FILE, step)
        if anchors is not None and found.verdict is Verdict.PASS:
            await write_anchors(anchors, found.anchors)
        return found

    done = anyio.run(act)
    value = {
        "judge": asdict(done.identity),
        "verdict": done.verdict.value,
        "min_kappa": done.min_kappa,
        "tasks": {found.task: {**asdict(found), "lacking": found.lacking} for found in done.calibrations},
        "anchors": len(done.anchors) if anchors is not None and done.verdict is Verdict.PASS else 0,
    }
    corrected = {} if rate is None else {found.task: _corrected(found, rate, answers) for found in done.calibrations}
    emit({**value, "corrected": corrected}, _calibration_lines(done, corrected), as_json=as_json)
    if anchors is not None and done.verdict is not Verdict.PASS:
        warn(f"no anchors are written: the judge is {done.verdict.value}")
    raise typer.Exit(VERDICT_EXIT_CODES[done.verdict])


@group.command(name="anchors")
def check_anchors(
    name: NameArgument, *, project: ProjectOption = None, as_json: JsonOption = False, debug: DebugOption = False
) -> None:
    """Have a judge judge its anchors again and compare with its calibration; every run with a judge does the same.

    Exit code: 0 it judges as it did, 3 it has drifted or is another judge.
    """
    del debug

    async def act() -> AnchorCheck:
        async with opened(project) as app:
            if judge_entry(app, name).anchors is None:
                raise NotFoundError(
                    f"judges.{name} names no anchors",
                    hint=f"write them with `shipway judge calibrate {name} --labels FILE --write-anchors FILE` and set"
                    f" judges.{name}.anchors to that file",
                )
            async with build_judge(app, name, LocalJudgeParts(app)) as judge:
                with bar("judging", shown=not as_json) as step:
                    found = await check_judge(app, judge, step)
        return found or AnchorCheck(Verdict.NO_DATA, "there is no anchor", 0, 0, 1.0, None)

    done = anyio.run(act)
    lines_ = [
        f"{done.verdict.value}  {done.message}",
        f"agreement with people now {_number(done.kappa)}; p = {done.p_value:.2g} for a shift in one direction",
    ]
    emit(asdict(done), lines_, as_json=as_json)
    raise typer.Exit(VERDICT_EXIT_CODES[done.verdict])


@group.command()
def label(
    run: Annotated[
        str, typer.Argument(help="An evaluated release: the answers of its newest evaluation are labelled.")
    ],
    task: TaskOption = "faithfulness",
    metric: Annotated[str, typer.Option(help="Draw answers evenly over the scores of this metric.")] = "correct",
    count: Annotated[int, typer.Option(min=1, help="How many answers.")] = 50,
    labels: Annotated[Path | None, typer.Option(help=f"The file to append to; by default {_LABELS_FILE}.")] = None,
    by: Annotated[str, typer.Option(help="Who labels; by default the user of this machine.")] = "",
    *,
    project: ProjectOption = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Label answers in the terminal: y yes, n no, c cannot tell, s skip, u undo, q quit; goes on where you stopped."""
    del debug
    wanted, person = _task(task), by or getpass.getuser()

    async def read() -> tuple[Labelling, Clock, Path]:
        async with opened(project) as app:
            file = labels or app.loaded.root / _LABELS_FILE
            require_writable_file(file, "--labels")
            cases = await project_cases(app)
            items = await run_items(app, run, cases, metric)
            told = _told(file, cases)
            left = open_items(items, told, task=wanted, by=person)
            if tasks_without_passages(items, wanted):
                raise UsageError(
                    f"{wanted}: no answer of {run} has passages to be compared with",
                    hint="label another task, such as --task completeness",
                )
            return Labelling(chosen(left, count), wanted, person), app.clock, file

    state, clock, file = anyio.run(read)
    state = _label_all(state, clock, file)
    value = {"labelled": len(state.given), "file": str(file), "left": len(state.items) - state.place}
    emit(value, [f"{len(state.given)} answers labelled in {file}"], as_json=as_json)


@group.command(name="try")
def try_(
    name: NameArgument,
    case: Annotated[str, typer.Argument(help="A case of the dataset.")],
    answer: Annotated[str, typer.Option(help="The answer to judge.")],
    task: TaskOption = "completeness",
    passage: Annotated[
        list[str] | None, typer.Option(help="A passage that the answer is from; may be repeated.")
    ] = None,
    *,
    project: ProjectOption = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Let a judge judge one answer, and show why."""
    del debug
    wanted = _task(task)

    async def act() -> Judgement:
        async with opened(project) as app:
            judge_entry(app, name)
            cases = await project_cases(app)
            if case not in cases:
                raise NotFoundError(f"the dataset has no case {case!r}", hint=did_you_mean(case, cases))
            output = Output(answer, passages=tuple(passage or ()), citations=tuple(passage or ()))
            request = request_for(wanted, cases[case], output)
            settled = without_asking(request)
            if isinstance(settled, Judgement):
                return settled
            if settled:
                raise UsageError(settled, hint="give what the answer is from with --passage")
            async with build_judge(app, name, LocalJudgeParts(app)) as judge:
                return await judge.judge(request, repeat=0)

    found = anyio.run(act)
    emit(asdict(found), _judgement_lines(found), as_json=as_json)


def _label_all(state: Labelling, clock: Clock, file: Path) -> Labelling:
    keys = ", ".join(f"{key} {meaning}" for key, meaning in KEYS.items())
    while (item := state.current) is not None:
        typer.echo(f"\n{state.place + 1} of {len(state.items)}", err=True)
        for line in shown(item, state.task):
            typer.echo(line, err=True)
        typer.echo(f"{QUESTIONS[state.task]} ({keys}): ", nl=False, err=True)
        key = sys.stdin.readline()
        if not key:
            # The end of the input: what was labelled is in the file.
            return state
        try:
            state, given = state.press(key.strip().lower(), clock.now_s())
        except UsageError as error:
            typer.echo(str(error), err=True)
            continue
        if given is not None:
            _append(file, [given])
    return state


def _append(file: Path, given: Iterable[Label]) -> None:
    with explained(file, "cannot be written"), file.open("ab+") as target:
        if target.tell():
            # Editors and other programs leave the last line without its end.
            target.seek(-1, os.SEEK_END)
            if target.read(1) != b"\n":
                target.write(b"\n")
        target.write(lines(given))


def _told(file: Path, cases: dict[str, Case]) -> list[Label]:
    with explained(file, "cannot be read"):
        data = file.read_bytes() if file.exists() else b""
    return parse_labels(data, str(file), cases) if data.strip() else []


def _task(name: str) -> Task:
    tasks: dict[str, Task] = {task: task for task in get_args(Task)}
    if name not in tasks:
        raise UsageError(f"--task: there is no task {name!r}", hint=did_you_mean(name, tasks))
    return tasks[name]


def _calibration_lines(done: Calibrated, corrected: Mapping[Task, dict[str, Any]]) -> list[str]:
    columns: dict[str, Callable[[Calibration], Any]] = {
        "task": lambda found: found.task,
        "labels": lambda found: found.n,
        "kappa": lambda found: f"{_number(found.kappa)} {_interval(found.kappa_interval)}",
        "finds right": lambda found: f"{_number(found.q1)} {_interval(found.q1_interval)}",
        "finds wrong": lambda found: f"{_number(found.q0)} {_interval(found.q0_interval)}",
        "undecided": lambda found: found.undecided,
        "failed": lambda found: found.failed,
        "verdict": lambda found: found.verdict(done.min_kappa).value,
    }
    rows = [[read(found) for read in columns.values()] for found in done.calibrations]
    failures = dict.fromkeys(reason for found in done.calibrations for reason in found.reasons)
    return [
        f"judge {done.identity.name}  {done.identity.digest}",
        *table(list(columns), rows),
        *(f"failed: {reason}" for reason in failures),
        *(found.lacking for found in done.calibrations if found.lacking),
        *(
            f"{task}: a judged rate of {told['judged']:g} means {_number(told['rate'])} {_interval(told['interval'])}"
            + (", cut to 0 to 1" if told["clipped"] else "")
            for task, told in corrected.items()
        ),
        f"{done.verdict.value}  agreement must be {done.min_kappa:g}; intervals are two-sided 95 %",
    ]


def _corrected(found: Calibration, rate: float, answers: int) -> dict[str, Any]:
    true = found.corrected(rate, answers)
    return {"judged": rate, "rate": true.rate, "interval": true.interval(), "clipped": true.clipped}


def _judgement_lines(found: Judgement) -> list[str]:
    words = {True: "yes", False: "no", None: "undecided"}
    return [
        f"{found.task}  {_number(found.score) if found.score is not None else 'not applicable'}",
        *([found.reason] if found.reason else []),
        *(f"{words[claim.supported]:>9}  {claim.text}  <- {claim.evidence}" for claim in found.claims),
        *([f"votes {', '.join(_number(vote) for vote in found.votes)}"] if len(found.votes) > 1 else []),
    ]


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _interval(value: tuple[float, float] | None) -> str:
    return "" if value is None else f"({value[0]:.2f} to {value[1]:.2f})"
