"""Where runs are on this machine: beginning one, finding the one to go on with, letting go of old ones."""

import shutil
from collections.abc import Sequence
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
            hint="begin anew without --resume, or score its answers as they are: `shipway eval rescore`",
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
    known = [folder.name for folder in reversed(_runs(app))][:_SHOWN]
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
    others: list[tuple[Path, RunFile]] = []
    for folder in reversed(_runs(app)):
        report = read_report(folder)
        if report is not None and report.get("verdict") != Verdict.ERROR:
            continue
        try:
            found = read_plan(folder)
        except ShipwayError:
            continue
        if not differing(found, plan):
            return folder
        others.append((folder, found))
    said = "there is no unfinished run of this plan"
    if others:
        folder, found = others[0]
        said += f"; {folder.name} differs:\n" + "\n".join(f"  {line}" for line in differing(found, plan)[:_SHOWN])
    raise NotFoundError(said, hint="begin one: the same command without --resume")


def _let_go(app: Application) -> None:
    """Remove the oldest runs beyond what is kept; one that is running stays."""
    for folder in _runs(app)[: -app.project.evals.keep_runs]:
        try:
            RunDirectory(folder, read_plan(folder), ()).close()
        except ShipwayError:
            continue
        shutil.rmtree(folder, ignore_errors=True)


def _runs(app: Application) -> list[Path]:
    folder = runs_folder(app)
    return sorted(path for path in folder.glob("run_*") if (path / PLAN_FILE).is_file()) if folder.is_dir() else []
