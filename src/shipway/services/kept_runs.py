"""Runs whose answers are on disk: shards that are put together, and answers that are scored again."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import anyio.to_thread

from shipway.core.disk import explained
from shipway.core.errors import ConflictError, UsageError
from shipway.evals.model import Case, Output
from shipway.evals.run_directory import JUDGEMENTS_FILE, RunDirectory, read_plan
from shipway.evals.run_plan import RunFile, differing_keys
from shipway.evals.shards import missing_shards, parse_shard
from shipway.services.application import Application
from shipway.services.evaluation_plan import EvaluationRequest, EvaluationTargets, asked_dataset
from shipway.services.evaluations import Evaluation, EvaluationParts, judged_directory
from shipway.services.judges.purse import SPENT_FILE
from shipway.services.run_directories import find_run, new_run_id, runs_folder

_BASE_32, _TIME_CHARS = "0123456789ABCDEFGHJKMNPQRSTVWXYZ", 10
"""How an id begins with its time; source: the ULID specification."""


@dataclass(frozen=True, slots=True)
class KeptTarget:
    """Who gave the answers of a run where that was no release; what is on disk is scored, and it is not asked again."""

    name: str
    digest: str

    async def ask(self, case: Case, *, repeat: int) -> Output:
        """Refuse to answer.

        Raises:
            UsageError: always.
        """
        raise UsageError(
            f"case {case.id!r}, repeat {repeat}: {self.name} is not asked again",
            hint="evaluate anew: `shipway eval run`",
        )


async def merge_runs(
    app: Application, folders: Sequence[Path], out: Path | None, targets: EvaluationTargets, parts: EvaluationParts
) -> Evaluation:
    """Put the shards of one run together and judge the whole.

    Raises:
        UsageError: shards of different plans, naming the keys that differ; one that is missing or there twice.
        ConflictError: two answers to one case and repeat that differ.
    """
    plans = [read_plan(folder) for folder in folders]
    _demand_whole(folders, plans)
    request = _request(plans[0])
    dataset = await asked_dataset(app, request)
    _demand_cases(folders[0], plans[0], str(dataset.digest))
    whole = RunFile(new_run_id(app), plans[0].identity, "", plans[0].provenance)
    path = out or runs_folder(app) / whole.run

    def merged() -> RunDirectory:
        found = RunDirectory.create(path, whole, dataset.cases)
        for folder, plan in zip(folders, plans, strict=True):
            _copy(folder, plan, found, dataset.cases)
            _append(folder, path, (JUDGEMENTS_FILE, SPENT_FILE))
        return found

    directory = await anyio.to_thread.run_sync(merged)
    try:
        return await judged_directory(app, request, targets, directory, parts)
    finally:
        directory.close()


async def rescore_run(
    app: Application, named: str, targets: EvaluationTargets, parts: EvaluationParts, *, gates: bool
) -> Evaluation:
    """Score a run again, and judge it; no release is asked.

    Raises:
        NotFoundError: no such run.
        UsageError: it is a shard, or its cases have changed.
    """
    path = find_run(app, named)
    plan = read_plan(path)
    if plan.shard and gates:
        raise UsageError(f"{path} is shard {plan.shard} of a run", hint="judge the whole: `shipway eval merge`")
    request = _request(plan, gates=gates)
    dataset = await asked_dataset(app, request)
    _demand_cases(path, plan, str(dataset.digest))
    directory = await anyio.to_thread.run_sync(RunDirectory, path, plan, dataset.cases)
    try:
        return await judged_directory(app, request, targets, directory, parts)
    finally:
        directory.close()


def _request(plan: RunFile, *, gates: bool = True) -> EvaluationRequest:
    """Return the request that the plan was made for."""
    kept = plan.identity["targets"]
    if "looks" not in plan.identity["settings"]:
        raise UsageError(
            f"{plan.run} compares {len(kept)} targets, as a matrix does: no gates judge it",
            hint="go on with a matrix by `shipway eval matrix`, and gate one release by `shipway eval run`",
        )
    candidate, *baseline = kept
    is_release = kept[candidate]["kind"] == "release"
    part = plan.identity["settings"].get("part", {})
    return EvaluationRequest(
        release=candidate if is_release else "",
        target=None if is_release else KeptTarget(candidate, kept[candidate]["digest"]),
        baseline=baseline[0] if baseline else "",
        alone=not baseline,
        dataset=plan.identity["settings"].get("dataset", ""),
        repeats=plan.identity["repeats"],
        looks=plan.identity["settings"]["looks"],
        seed=plan.identity["seed"],
        gates=gates,
        made_s=_begun_s(plan.run),
        tags=tuple(part.get("tags", ())),
        share=part.get("share", 1.0),
    )


def _begun_s(run: str) -> float:
    """Return when a run began, as its id says; infinity for an id that nobody made."""
    time_ms = 0
    for sign in run.removeprefix("run_")[:_TIME_CHARS].upper():
        value = _BASE_32.find(sign)
        if value < 0:
            return math.inf
        time_ms = time_ms * len(_BASE_32) + value
    return time_ms / 1000 or math.inf


def _demand_whole(folders: Sequence[Path], plans: Sequence[RunFile]) -> None:
    for folder, plan in zip(folders, plans, strict=True):
        different = differing_keys(plan.identity, plans[0].identity)
        if different:
            raise UsageError(
                f"{folder} and {folders[0]} are not of one run:\n" + "\n".join(f"  {line}" for line in different),
                hint="run every shard with the same command, but for --shard",
            )
        if not plan.shard:
            raise UsageError(f"{folder} is no shard but a whole run", hint="it has its own verdict")
    problem = missing_shards([parse_shard(plan.shard) for plan in plans])
    if problem:
        raise UsageError(problem, hint="name the folder of every shard, each once")


def _demand_cases(path: Path, plan: RunFile, digest: str) -> None:
    kept = plan.identity["dataset"]["digest"]
    if kept != digest:
        raise UsageError(
            f"{path}: its answers are to other cases: dataset {kept} against {digest}",
            hint="evaluate again, or restore the cases of that run",
        )


def _append(folder: Path, whole: Path, names: Sequence[str]) -> None:
    """Add what the judge said and took in a shard: what was judged there is not asked and paid for again."""
    for name in names:
        if (folder / name).is_file():
            data = (folder / name).read_bytes()
            with explained(whole / name, "cannot be written"), (whole / name).open("ab") as file:
                file.write(data if not data or data.endswith(b"\n") else data + b"\n")


def _copy(folder: Path, plan: RunFile, whole: RunDirectory, cases: Sequence[Case]) -> None:
    part = RunDirectory(folder, plan, cases)
    try:
        for target in plan.targets:
            there = whole.finished(target)
            for attempt in part.every_attempt(target, part.repeats()):
                if (attempt.case_id, attempt.repeat) in there:
                    raise ConflictError(
                        f"{folder}: case {attempt.case_id!r}, repeat {attempt.repeat}, has an answer in another shard",
                        hint="run every shard with the same command, but for --shard",
                    )
                whole.write(target, attempt)
    finally:
        part.close()
