"""Finding the part of a release that lowered a score; `shipway eval attribute` calls this.

Baseline, candidate and the hybrids between them answer the same cases, interleaved, now: what was measured before chose
the question and does not answer it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shipway.core.errors import NotFoundError, UsageError
from shipway.core.ids import ReleaseId
from shipway.core.verdicts import Verdict, combined
from shipway.evals.attribution import Arm, Question, SwappedPart, SwappedRuns, attribute
from shipway.evals.attribution_result import Attribution
from shipway.evals.metric_names import resolve_metrics
from shipway.evals.metrics import Metric
from shipway.evals.model import Dataset
from shipway.evals.sample import score_table
from shipway.registry.difference import ReleaseDifference, difference
from shipway.registry.hybrids import with_parts
from shipway.registry.model import PartKind, Provenance, Release
from shipway.services.application import Application
from shipway.services.dataset_files import load_project_dataset
from shipway.services.evaluation_scoring import load_scoring
from shipway.services.evaluations import latest_evaluation
from shipway.services.gates import gate_metrics, gate_specs
from shipway.services.variants import Asking, VariantParts, VariantRuns, Variants, run_variants

_BASELINE, _CANDIDATE = "baseline", "candidate"


@dataclass(frozen=True, slots=True)
class AttributionRequest:
    """What to explain.

    `baseline` empty means that of the release's newest evaluation, else what is stable. `metrics` empty means those of
    the gates that failed in that evaluation.
    """

    release: str
    asking: Asking
    baseline: str = ""
    metrics: tuple[str, ...] = ()
    dataset: str = ""


@dataclass(frozen=True, slots=True)
class Attributed:
    """What was found: one attribution a metric, and what differs between the releases."""

    release: ReleaseId
    baseline: ReleaseId
    difference: ReleaseDifference
    found: tuple[Attribution, ...]
    repeats: int
    directory: Path

    @property
    def verdict(self) -> Verdict:
        """Return whether every question is answered."""
        return combined(one.verdict for one in self.found)


async def attribute_failure(app: Application, request: AttributionRequest, parts: VariantParts) -> Attributed:
    """Swap the parts that differ one at a time, ask, and say which of them lowered the score.

    Raises:
        NotFoundError: no such release, or nothing to compare it with.
        UsageError: no gate failed and no metric is named, or the releases do not differ.
        GateRefusedError: with verdict ERROR, where the budget ends the run.
    """
    release = await app.releases.get(request.release)
    evaluation = await latest_evaluation(app, release.id)
    baseline = await _baseline(app, release, request.baseline, evaluation)
    changes = difference(baseline, release)
    if not changes.parts:
        raise UsageError(f"{release.id} and {baseline.id} are the same release; there is nothing to swap")
    dataset = await _dataset(app, request)
    metrics = _metrics(app, request)
    questions = _questions(app, request, metrics, evaluation)
    asked = Variants(
        _releases(app, baseline, release, changes.parts),
        dataset,
        await load_scoring(app, dataset, metrics),
        request.asking,
        needed=frozenset({_BASELINE, _CANDIDATE}),
    )
    ran = await run_variants(app, asked, parts)
    swapped = _swapped(dataset, questions, changes, ran)
    found = attribute(questions, swapped, seed=abs(request.asking.seed))
    return Attributed(release.id, baseline.id, changes, tuple(found), request.asking.repeats, ran.directory)


async def _baseline(app: Application, release: Release, named: str, evaluation: Mapping[str, Any] | None) -> Release:
    known = named or (evaluation or {}).get("baseline")
    if not known:
        stable = await app.releases.label(app.environment)
        known = stable if stable != release.id else None
    if not known:
        raise NotFoundError(
            f"there is nothing to compare {release.id} with: it was evaluated without a baseline, and no other release"
            " is stable",
            hint="name a release that was better: --baseline REL",
        )
    return await app.releases.get(known)


async def _dataset(app: Application, request: AttributionRequest) -> Dataset:
    dataset = await load_project_dataset(app.loaded, request.dataset)
    split = app.project.evals.split
    return dataset if split == "all" else dataset.only(split)


def _metrics(app: Application, request: AttributionRequest) -> dict[str, Metric]:
    judge = app.project.evals.judge or ""
    repeats = request.asking.repeats
    named = resolve_metrics(request.metrics, has_judge=bool(judge), judge=judge, repeats=repeats)
    return {**gate_metrics(gate_specs(app.project), app.project.evals, repeats=repeats), **named}


def _questions(
    app: Application, request: AttributionRequest, metrics: Mapping[str, Metric], evaluation: Mapping[str, Any] | None
) -> list[Question]:
    if request.metrics:
        return [Question(metrics[name]) for name in dict.fromkeys(request.metrics)]
    if evaluation is None:
        raise UsageError(
            f"release {request.release} has not been evaluated, so no gate has failed",
            hint=f"run `shipway eval run {request.release}`, or name what fell: --metric correct",
        )
    failed = {row["gate"] for row in evaluation["report"]["gates"] if row["verdict"] == Verdict.FAIL}
    specs = [spec for spec in gate_specs(app.project) if spec.label in failed]
    if not specs:
        raise UsageError(
            f"no gate of the project failed in {evaluation['id']} (verdict {evaluation['verdict']})",
            hint="name what fell: --metric correct",
        )
    alpha = min(spec.alpha for spec in specs)
    # A threshold and a comparison of the same cases ask the same question.
    found: dict[tuple[str, tuple[str, ...]], Question] = {}
    for spec in specs:
        found.setdefault((spec.metric, spec.tags), Question(metrics[spec.metric], spec.tags, spec.label, alpha))
    return list(found.values())


def _releases(app: Application, baseline: Release, release: Release, parts: Sequence[PartKind]) -> dict[str, Release]:
    """Return both releases and, where several parts differ, the hybrids of each."""
    found = {_BASELINE: baseline, _CANDIDATE: release}
    for part in parts if len(parts) > 1 else ():
        for name, base, donor in ((_alone(part), baseline, release), (_removed(part), release, baseline)):
            said = f"{base.id} with the {part} of {donor.id}, made to find what lowered a score"
            by = Provenance(app.actor, app.clock.now_s(), message=said)
            found[name] = with_parts(base, donor, [part], by)
    return found


def _swapped(
    dataset: Dataset, questions: Sequence[Question], changes: ReleaseDifference, ran: VariantRuns
) -> SwappedRuns:
    names = [question.metric.name for question in questions]
    tables = {name: score_table(run, names) for name, run in ran.runs.items()}

    def arm(name: str) -> Arm:
        return tables[name] if name in tables else ran.problems.get(name, "was not asked")

    parts = tuple(
        SwappedPart(part, _keys(changes, part), arm(_alone(part)), arm(_removed(part))) for part in changes.parts
    )
    return SwappedRuns(dataset, tables[_BASELINE], tables[_CANDIDATE], parts)


def _keys(changes: ReleaseDifference, part: PartKind) -> tuple[str, ...]:
    return tuple(change.key for change in changes.changes if change.part == part)


def _alone(part: PartKind) -> str:
    return f"{part} alone"


def _removed(part: PartKind) -> str:
    return f"without {part}"
