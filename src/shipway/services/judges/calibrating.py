"""Holding a judge to people's labels, and to its own word; `shipway judge` and evaluations with a judge call this."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import anyio

from shipway.core.disk import explained
from shipway.core.errors import DatasetError
from shipway.core.verdicts import Verdict, combined
from shipway.evals.calibration import AnchorCheck, Calibration, anchors_of, calibrate, check_anchors
from shipway.evals.judgement import JudgeIdentity, Judgement
from shipway.evals.judging import judge_requests, without_asking
from shipway.evals.labels import Anchor, Label, lines, parse_labels
from shipway.evals.model import Case
from shipway.evals.ports import Judge
from shipway.services.application import Application
from shipway.services.judges.building import judge_entry, project_anchors, project_cases

_CONCURRENCY = 4
Step = Callable[[int, int], None]
"""Hears of (done, total)."""


@dataclass(frozen=True, slots=True)
class Calibrated:
    """A judge and its agreement with people, task by task."""

    identity: JudgeIdentity
    calibrations: tuple[Calibration, ...]
    anchors: tuple[Anchor, ...]
    min_kappa: float

    @property
    def verdict(self) -> Verdict:
        """PASS when every task agrees well enough."""
        return combined(found.verdict(self.min_kappa) for found in self.calibrations)


async def calibrate_judge(app: Application, judge: Judge, labels_file: Path, step: Step | None = None) -> Calibrated:
    """Have a judge judge what people have labelled, and compare.

    Raises:
        DatasetError: the file cannot be read, or everything that is wrong with it.
        NotFoundError: the project has no such judge.
    """
    entry, cases = judge_entry(app, judge.identity.name), await project_cases(app)
    labels = parse_labels(await _bytes_of(labels_file), str(labels_file), cases)
    judged = await judge_labels(judge, labels, cases, step)
    found = calibrate(labels, judged)
    return Calibrated(judge.identity, tuple(found), tuple(anchors_of(labels, judged, judge.identity)), entry.min_kappa)


async def write_anchors(path: Path, anchors: Sequence[Anchor]) -> None:
    """Replace a file of anchors.

    Raises:
        StoreError: it cannot be written.
    """
    with explained(path, "cannot be written"):
        await anyio.Path(path).write_bytes(lines(anchors))


async def check_judge(app: Application, judge: Judge, step: Step | None = None) -> AnchorCheck | None:
    """Have a judge judge its anchors again; None when the project names none for it.

    Raises:
        ConfigError: the file cannot be read.
        DatasetError: everything that is wrong with it.
    """
    name = judge.identity.name
    entry, anchors = judge_entry(app, name), await project_anchors(app, name)
    if entry.anchors is None:
        return None
    judged = await judge_labels(judge, [anchor.label for anchor in anchors], await project_cases(app), step)
    return check_anchors(anchors, judged, judge.identity, max_drift=entry.max_drift, min_kappa=entry.min_kappa)


async def judge_labels(
    judge: Judge, labels: Sequence[Label], cases: dict[str, Case], step: Step | None = None
) -> list[Judgement | str]:
    """Return a judge's opinion on each labelled answer, in order; a text says why there is none."""
    requests = [label.request(cases[label.case]) for label in labels]
    opinions: list[Judgement | str] = [without_asking(request) for request in requests]
    open_places = [place for place, opinion in enumerate(opinions) if opinion == ""]
    finished = 0

    def done(index: int, result: Judgement | str) -> None:
        nonlocal finished
        finished += 1
        opinions[open_places[index]] = result
        if step is not None:
            step(finished, len(open_places))

    await judge_requests(judge, [requests[place] for place in open_places], concurrency=_CONCURRENCY, done=done)
    return opinions


async def _bytes_of(path: Path) -> bytes:
    try:
        return await anyio.Path(path).read_bytes()
    except OSError as error:
        raise DatasetError(
            [f"{path}: cannot be read: {error.strerror or error}"], hint="make labels with `shipway judge label`"
        ) from error
