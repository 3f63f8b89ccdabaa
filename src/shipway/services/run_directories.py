"""Where runs are on this machine: beginning one, finding the one to go on with, letting go of old ones."""

import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import orjson

from shipway.core.errors import NotFoundError, ShipwayError, UsageError
from shipway.core.ids import ulid
from shipway.core.verdicts import Verdict
from shipway.evals.model import Case
from shipway.evals.run_directory import PLAN_FILE, REPORT_FILE, RunDirectory, read_plan
from shipway.evals.run_plan import RunFile, differing_keys
from shipway.services.application import Application

_SHOWN = 6


def runs_folder(app: Application) -> Path:
    """Return where runs are kept when nobody names another place."""
    return app.workspace.home / "runs"


def run_folders(app: Application) -> list[Path]:
    """Return the folders of the runs that are kept, oldest first."""
    folder = runs_folder(app)
    return sorted(path for path in folder.glob("run_*") if (path / PLAN_FILE).is_file()) if folder.is_dir() else []


def new_run_id(app: Application) -> str:
    """Return the name of a new run; names sort by age."""
    return f"run_{ulid(app.clock.now_s()).lower()}"


def open_run(app: Application, plan: RunFile, cases: Sequence[Case], out: Path | None, *, resume: bool) -> RunDirectory:
    """Begin a run, or go on with one of the same plan.

    Raises:
        ConflictError: the folder holds a run and `resume` was not asked for, or another process runs it.
        NotFoundError: no unfinished run has this plan.
        UsageError: the run in the folder has another plan; every key that differs is named.
    """
    if not resume:
        _let_go(app)
        return RunDirectory.create(out or runs_folder(app) / plan.run, plan, cases)
    path = out or _unfinished(app, plan)
    found = read_plan(path)
    different = differing(found, plan)
    if different:
        raise UsageError(
            f"{path} was begun under another plan:\n" + "\n".join(f"  {line}" for line in different),
            hint="restore the cases of that run, or begin anew without --resume"
            if any(line.startswith("dataset.digest") for line in different)
            else "begin anew without --resume, or score its answers as they are: `shipway eval rescore`",
        )
    return RunDirectory(path, found, cases)


def find_run(app: Application, named: str) -> Path:
    """Return the folder of a run by its id, or by its path.

    Raises:
        NotFoundError: there is none.
    """
    path = runs_folder(app) / named
    if "/" not in named and (path / PLAN_FILE).is_file():
        return path
    if (Path(named) / PLAN_FILE).is_file():
        return Path(named)
    known = [folder.name for folder in reversed(run_folders(app))][:_SHOWN]
    raise NotFoundError(
        f"no run {named!r}",
        hint=f"there are {', '.join(known)}" if known else "`shipway eval run` makes one, and tells its name",
    )


def differing(kept: RunFile, wanted: RunFile) -> list[str]:
    """Return what differs between two plans, the shard among it."""
    lines = differing_keys(kept.identity, wanted.identity)
    if kept.shard != wanted.shard:
        lines.append(f"shard: {kept.shard or 'the whole'} against {wanted.shard or 'the whole'}")
    return lines


def read_report(path: Path) -> dict[str, Any] | None:
    """Return the report of a run, None before there is one."""
    try:
        found: dict[str, Any] = orjson.loads((path / REPORT_FILE).read_bytes())
    except (OSError, ValueError):
        return None
    return found


def _unfinished(app: Application, plan: RunFile) -> Path:
    """Return the newest run of a plan that has no verdict, or one that more answers could change."""
    others: list[tuple[Path, list[str]]] = []
    for folder in reversed(run_folders(app)):
        report = read_report(folder)
        if report is not None and report.get("verdict") != Verdict.ERROR:
            continue
        try:
            found = read_plan(folder)
        except ShipwayError:
            continue
        different = differing(found, plan)
        if not different:
            return folder
        # What asks somebody else, and a comparison of several, is no run that somebody meant.
        if "looks" in found.identity["settings"] and not different[0].startswith("targets:"):
            others.append((folder, different))
    said = "there is no unfinished run of this plan"
    if others:
        folder, different = min(others, key=lambda item: len(item[1]))
        said += f"; {folder.name} differs:\n" + "\n".join(f"  {line}" for line in different[:_SHOWN])
    raise NotFoundError(said, hint="begin one: the same command without --resume")


def _let_go(app: Application) -> None:
    """Remove the oldest runs beyond what is kept; one that is running stays, and one that `--resume` goes on with."""
    ended = [(folder, plan) for folder, plan in _plans(app) if not _awaits_resume(folder, plan)]
    for folder, plan in ended[: -app.project.evals.keep_runs]:
        try:
            RunDirectory(folder, plan, ()).close()
        except ShipwayError:
            continue
        shutil.rmtree(folder, ignore_errors=True)


def _plans(app: Application) -> Iterator[tuple[Path, RunFile]]:
    for folder in run_folders(app):
        try:
            yield folder, read_plan(folder)
        except ShipwayError:
            continue


def _awaits_resume(folder: Path, plan: RunFile) -> bool:
    """Tell whether `--resume` goes on with it; a comparison of several is never gone on with, and has no report."""
    return "looks" in plan.identity["settings"] and not (folder / REPORT_FILE).exists()
