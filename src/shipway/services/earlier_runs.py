"""What the calls of earlier runs took, read from their folders: by it a run is estimated before it begins."""

from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

from shipway.core.errors import ShipwayError
from shipway.core.ids import Digest
from shipway.evals.attempt_lines import read_attempt
from shipway.evals.budget import Spent
from shipway.evals.judgement_log import read_judged
from shipway.evals.model import Dataset
from shipway.evals.run_directory import JUDGEMENTS_FILE, attempts_file, read_plan
from shipway.evals.run_plan import RunFile
from shipway.services.application import Application
from shipway.services.run_directories import run_folders

_MOST_LINES = 10_000
"""So many answers tell what one takes."""


def answered_before(app: Application, dataset: Dataset, target: str) -> Mapping[str, Any]:
    """Return `calls`, `tokens_in`, `tokens_out`, `usd` and `of` of the newest run that asked a target this dataset.

    Errors and copies are left out; `usd` is None where an answer did not tell its cost. Empty without such a run.
    """
    for folder, plan in _runs(app):
        if target not in plan.identity["targets"] or not _is_of(plan, dataset):
            continue
        found = _answered(folder / attempts_file(target))
        if found.calls:
            return {
                "calls": found.calls,
                "tokens_in": found.tokens_in,
                "tokens_out": found.tokens_out,
                "usd": found.usd,
                "of": plan.run,
            }
    return {}


def judged_before(app: Application, dataset: str, judge: Digest) -> Spent:
    """Return what the judgements by this judge in the newest run on a dataset took; `calls` counts judgements."""
    for folder, plan in _runs(app):
        if dataset not in {plan.identity["dataset"]["digest"], plan.identity["dataset"]["name"]}:
            continue
        found = Spent()
        for line in _lines(folder / JUDGEMENTS_FILE):
            _, judged = read_judged(line)
            if judged is not None and judged.judge == judge and judged.judgement is not None:
                told = judged.judgement
                if told.tokens_in or told.tokens_out:
                    found = found.plus(1, told.tokens_in, told.tokens_out, told.cost_usd)
        if found.calls:
            return found
    return Spent()


def _is_of(plan: RunFile, dataset: Dataset) -> bool:
    kept = plan.identity["dataset"]
    return bool(kept["digest"] == dataset.digest or kept["name"] == dataset.name)


def _runs(app: Application) -> Iterator[tuple[Path, RunFile]]:
    """Yield the runs that are kept, the newest first."""
    for folder in reversed(run_folders(app)):
        try:
            yield folder, read_plan(folder)
        except ShipwayError:
            continue


def _answered(path: Path) -> Spent:
    found = Spent()
    for line in _lines(path):
        attempt = read_attempt(line)
        if attempt is None or attempt.output.error is not None or attempt.output.cached:
            continue
        output = attempt.output
        found = found.plus(1, output.tokens_in, output.tokens_out, output.cost_usd)
    return found


def _lines(path: Path) -> Iterator[bytes]:
    try:
        with path.open("rb") as file:
            yield from islice(file, _MOST_LINES)
    except OSError:
        return
