"""What an evaluation is going to ask, and what that takes; nothing is asked here."""

import math
import os
import platform
from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

import anyio.to_thread

from shipway import __version__
from shipway.core.errors import DatasetError, UsageError
from shipway.core.ids import Digest, ulid
from shipway.evals.assertions import CaseError
from shipway.evals.baseline import NO_JUDGE, bind
from shipway.evals.budget import Caps, Charge, Estimate, estimate
from shipway.evals.gate_spec import GateSpec
from shipway.evals.metric_context import DocumentAccess
from shipway.evals.metrics import Metric
from shipway.evals.model import Binding, Case, Dataset
from shipway.evals.ports import Target
from shipway.evals.run_plan import RunFile
from shipway.evals.runner import RunPlan
from shipway.evals.shards import Shard, parse_shard
from shipway.registry.model import Release
from shipway.services.application import Application
from shipway.services.dataset_files import case_place, load_project_dataset
from shipway.services.earlier_runs import answered_before
from shipway.services.evaluation_charges import release_charge, target_charge
from shipway.services.evaluation_scoring import Opinions, Scoring, load_scoring
from shipway.services.first_release import compares, demand_first_release, replaced_release
from shipway.services.gate_check import Counts, demand_gates
from shipway.services.gates import gate_metrics, gate_specs
from shipway.services.judges.charging import Judged, JudgeShare, judge_share

NO_CORPUS = NO_JUDGE
EVALUATION_KIND = "evaluation"
# They are listed oldest first, and the newest are wanted.
_ALL = 1_000_000


@dataclass(frozen=True, slots=True)
class EvaluationRequest:
    """What to evaluate; `baseline` empty means what is stable now. `dataset` empty means the project's.

    What is None or empty is as the project says. `alone` compares with nothing, whatever is stable. `resume` goes on
    with the newest run of the same plan that is not finished, or with the one at `out`. `yes` begins although the
    estimate is over the budget; the run ends before the call that would exceed it. Without `gates` nothing is judged or
    stored: the answers are for whoever reads them. `target` is asked in place of a release; what is found of it is in
    the run directory alone. With `tags` or a `share` below 1 a part of the cases is asked, see `Dataset.part`. `made_s`
    is when answers that are judged again were given: what has happened since decides nothing.
    """

    release: str = ""
    baseline: str = ""
    dataset: str = ""
    repeats: int | None = None
    concurrency: int | None = None
    looks: int | None = None
    seed: int | None = None
    fail_fast: int | None = None
    budget_usd: float | None = None
    budget_tokens: int | None = None
    yes: bool = False
    resume: bool = False
    out: Path | None = None
    shard: str = ""
    gates: bool = True
    target: Target | None = None
    alone: bool = False
    made_s: float = math.inf
    tags: tuple[str, ...] = ()
    share: float = 1.0

    @property
    def part(self) -> dict[str, Any]:
        """Return which part of the cases is asked, as the run directory keeps it; empty for all of them."""
        return {"tags": list(self.tags), "share": self.share} if self.tags or self.share < 1.0 else {}


class EvaluationTargets(Protocol):
    """What turns a release into something that answers cases."""

    def opened(self, release: Release) -> AbstractAsyncContextManager[Target]:
        """Open a release for evaluation and close it again."""
        ...

    async def access(self, release: Release) -> Mapping[str, DocumentAccess] | None:
        """Return who may see which document of the release's corpus, None without a corpus."""
        ...

    def route(self, release: Release) -> str:
        """Return the route that is evaluated.

        Raises:
            UsageError: the project does not say which of several.
        """
        ...


@dataclass(frozen=True, slots=True)
class Subject:
    """Who is asked: a release by one of its routes, or another target.

    `sampling` tells whether the repeats of a case can differ; `charge` is what a call takes.
    """

    name: str
    digest: str
    corpus: Digest
    charge: Charge
    sampling: bool
    route: str = ""
    release: Release | None = field(default=None, hash=False, compare=False)

    @property
    def kind(self) -> str:
        """What the plan calls it."""
        return "target" if self.release is None else "release"


@dataclass(frozen=True, slots=True)
class Prepared:
    """An evaluation whose dataset, gates and functions are loaded and make sense."""

    candidate: Subject
    baseline: Subject | None
    dataset: Dataset
    specs: tuple[GateSpec, ...]
    scoring: Scoring
    plan: RunPlan
    looks: int
    extra_repeats: int
    shard: Shard | None
    caps: Caps
    judge: JudgeShare | None = None

    @property
    def subjects(self) -> list[Subject]:
        """Who is asked, the candidate first."""
        return [self.candidate] if self.baseline is None else [self.candidate, self.baseline]

    @property
    def cases(self) -> tuple[Case, ...]:
        """What is asked here: all cases, or those of the shard."""
        return _cases_of(self.dataset, self.shard)

    @property
    def sampling(self) -> bool:
        """Whether the repeats of a case can differ; copies say nothing new."""
        return any(subject.sampling for subject in self.subjects)

    @property
    def charges(self) -> dict[str, Charge]:
        """What a call takes, by who is asked, the judge among them."""
        found = {subject.name: subject.charge for subject in self.subjects}
        return found if self.judge is None else {**found, self.judge.name: self.judge.charge}

    def named_metrics(self, others: Sequence[str]) -> list[str]:
        """Return the metrics that gates name, and others, each once."""
        return list(dict.fromkeys([*(spec.metric for spec in self.specs), *others]))

    def estimate(self) -> Estimate:
        """Return what the first look takes."""
        found = estimate(self.cases, self.plan.repeats, {item.name: item.charge for item in self.subjects})
        return found if self.judge is None else found.with_judge(self.judge.spent, self.judge.basis)

    def bindings(self, opinions: Opinions) -> dict[str, Binding]:
        """Return what the scores of each subject depend on."""
        schemas, judge = opinions.schemas(self.scoring.assertions.digest), opinions.judge_digest
        return {
            subject.name: bind(self.dataset, corpus=subject.corpus, judge=judge, schemas=schemas)
            for subject in self.subjects
        }


async def prepare(app: Application, request: EvaluationRequest, targets: EvaluationTargets) -> Prepared:
    """Load and check all that an evaluation needs.

    Raises:
        NotFoundError: no such release.
        DatasetError: the dataset is malformed.
        UsageError: a gate that makes no sense or can never decide.
        GateRefusedError: a gate compares, and a later release has no baseline.
    """
    settings = app.project.evals
    dataset = await asked_dataset(app, request)
    candidate, baseline = await _subjects(app, request, targets, dataset)
    plan, looks = _plan(app, request), request.looks or settings.looks
    if request.gates:
        demand_gates(app.loaded, dataset, Counts(plan.repeats, looks), releases=candidate.release is not None)
    specs = gate_specs(app.project)
    if request.gates and baseline is None:
        asked = None if candidate.release is None else candidate.release.id
        await demand_first_release(app, asked, specs, before_s=request.made_s)
    metrics = gate_metrics(specs, settings, repeats=plan.repeats)
    # A shard may be empty: cases of one cluster stay together, and there may be fewer clusters than shards.
    if not dataset.cases:
        raise UsageError(f"nothing to run: no cases in {dataset.name!r} (evals.split: {settings.split})")
    shard = parse_shard(request.shard) if request.shard else None
    prepared = Prepared(
        candidate=candidate,
        baseline=baseline,
        dataset=dataset,
        specs=tuple(specs),
        scoring=await _scoring(app, request, dataset, metrics),
        plan=plan,
        looks=looks,
        extra_repeats=settings.extra_repeats,
        shard=shard,
        caps=_caps(app, request, dataset, shard),
    )
    return replace(prepared, judge=await _judge_share(app, prepared))


def run_file(app: Application, request: EvaluationRequest, prepared: Prepared, opinions: Opinions) -> RunFile:
    """Return the plan as the run directory keeps it."""
    dataset = prepared.dataset
    identity = {
        "targets": {item.name: {"digest": item.digest, "kind": item.kind} for item in prepared.subjects},
        "dataset": {"name": dataset.name, "digest": dataset.digest, "cases": len(dataset.cases)},
        "binding": {name: binding_body(binding) for name, binding in prepared.bindings(opinions).items()},
        "repeats": prepared.plan.repeats,
        "order": prepared.plan.order,
        "seed": prepared.plan.seed,
        "settings": {
            "looks": prepared.looks,
            "extra_repeats": prepared.extra_repeats,
            "split": app.project.evals.split,
            "dataset": request.dataset,
            **({"part": request.part} if request.part else {}),
            "gates": request.gates,
            "routes": {item.name: item.route for item in prepared.subjects},
        },
    }
    shard = "" if prepared.shard is None else str(prepared.shard)
    return RunFile(
        f"run_{ulid(app.clock.now_s()).lower()}", identity, shard, provenance(prepared.subjects, prepared.plan.seed)
    )


def provenance(subjects: Sequence[Subject], seed: int) -> dict[str, Any]:
    """Return on what the answers were made; shown, not compared."""
    engines = {
        item.name: {
            alias: f"{entry['engine']}/{entry['model']}" for alias, entry in item.release.manifest["models"].items()
        }
        for item in subjects
        if item.release is not None
    }
    return {
        "seed": seed,
        "hardware": {"machine": platform.machine(), "system": platform.system(), "cpus": os.cpu_count() or 0},
        "packages": {"python": platform.python_version(), "shipway": __version__},
        "engine": engines,
    }


def corpus_digest(release: Release) -> Digest:
    """Return what a release answers from."""
    corpus = release.manifest["data"]["corpus"]
    return Digest(corpus["manifest"]) if corpus else NO_CORPUS


def binding_body(binding: Binding) -> dict[str, str]:
    """Return a binding as JSON values."""
    return {name: str(getattr(binding, name)) for name in ("dataset", "corpus", "judge", "metrics")}


async def stored_evaluations(app: Application, prefix: str = "") -> list[dict[str, Any]]:
    """Return the stored evaluations whose key begins so, oldest first."""
    return [body for _, body, *_ in await app.state.documents.list(EVALUATION_KIND, prefix=prefix, limit=_ALL)]


def _plan(app: Application, request: EvaluationRequest) -> RunPlan:
    settings = app.project.evals
    return RunPlan(
        repeats=request.repeats or settings.repeats,
        concurrency=request.concurrency or settings.concurrency,
        timeout_s=settings.case_timeout_s,
        seed=settings.seed if request.seed is None else request.seed,
        retries=settings.retries,
        max_concurrency=settings.max_concurrency,
        fail_fast=request.fail_fast or settings.fail_fast,
    )


def _caps(app: Application, request: EvaluationRequest, dataset: Dataset, shard: Shard | None) -> Caps:
    """Return what the run may take; a shard has the part of the budget that it has of the cases."""
    budget = app.project.evals.budget
    whole = Caps(request.budget_usd or budget.max_cost_usd, request.budget_tokens or budget.max_tokens)
    return whole if shard is None else whole.share(len(_cases_of(dataset, shard)), len(dataset.cases))


def _cases_of(dataset: Dataset, shard: Shard | None) -> tuple[Case, ...]:
    return dataset.cases if shard is None else tuple(case for case in dataset.cases if shard.holds(case))


async def _judge_share(app: Application, prepared: Prepared) -> JudgeShare | None:
    answers = {item.name: item.charge for item in prepared.subjects}
    asked = Judged(str(prepared.dataset.digest), prepared.cases, prepared.plan.repeats, answers, prepared.scoring.tasks)
    return await judge_share(app, asked)


async def _scoring(
    app: Application, request: EvaluationRequest, dataset: Dataset, metrics: Mapping[str, Metric]
) -> Scoring:
    try:
        return await load_scoring(app, dataset, metrics)
    except CaseError as error:
        place = await case_place(app.loaded, request.dataset, error.case_id)
        raise DatasetError([f"{place}: {error.message}"], hint=error.hint) from error


async def _subjects(
    app: Application, request: EvaluationRequest, targets: EvaluationTargets, dataset: Dataset
) -> tuple[Subject, Subject | None]:
    target, known = request.target, await _last_usage(app, dataset)
    if target is not None:
        named = await app.releases.get(request.baseline) if request.baseline else None
        before = await anyio.to_thread.run_sync(answered_before, app, dataset, target.name)
        charge = target_charge(app.project, target, before)
        candidate = Subject(target.name, target.digest, NO_CORPUS, charge, sampling=True)
        return candidate, _release_subject(app, named, targets, known) if named is not None else None
    release = await app.releases.get(request.release)
    baseline = None if request.alone else await _baseline(app, release, request)
    if baseline is not None and baseline.id == release.id:
        raise UsageError(
            f"{release.id} is to be compared with itself, which says nothing of a change",
            hint="name another release: --baseline REL; how often the gates block an unchanged one says"
            " `shipway gate simulate`",
        )
    return (
        _release_subject(app, release, targets, known),
        _release_subject(app, baseline, targets, known) if baseline is not None else None,
    )


def _release_subject(
    app: Application, release: Release, targets: EvaluationTargets, known: Mapping[str, Any]
) -> Subject:
    route = targets.route(release)
    charge = release_charge(app.project, release, route, known)
    return Subject(release.id, release.id, corpus_digest(release), charge, _samples(release, route), route, release)


async def _baseline(app: Application, release: Release, request: EvaluationRequest) -> Release | None:
    if request.baseline:
        return await app.releases.get(request.baseline)
    stable = await app.releases.label(app.environment)
    if stable == release.id and request.gates and any(map(compares, gate_specs(app.project))):
        # Nightly, say: what is stable is asked again, and judged against what it replaced, as it was then.
        stable = await replaced_release(app, release.id)
    return await app.releases.get(stable) if stable is not None and stable != release.id else None


async def asked_dataset(app: Application, request: EvaluationRequest) -> Dataset:
    """Return the cases of the project's split, or the part that is asked; the project's dataset when none is named.

    Raises:
        UsageError: gates would judge a part, or no case has one of the tags.
    """
    settings = app.project.evals
    dataset = await load_project_dataset(app.loaded, request.dataset)
    whole = dataset if settings.split == "all" else dataset.only(settings.split)
    if not request.part:
        return whole
    if request.gates:
        raise UsageError(
            "gates judge all cases, not a part of them",
            hint="look at a part with --no-gates; for gates on a part, write `tags` into the gate",
        )
    if not 0 < request.share <= 1:
        raise UsageError(f"the share is {request.share:g}; give more than 0, and 1 at most")
    part = whole.part(request.tags, request.share)
    if whole.cases and not part.cases:
        known = ", ".join(sorted({tag for case in whole.cases for tag in case.tags})) or "none"
        raise UsageError(f"no case has the tag {' or '.join(request.tags)}", hint=f"tags of {whole.name}: {known}")
    return part


def _samples(release: Release, route: str) -> bool:
    policy = release.manifest["policy"]
    kind, decoding = policy["routes"][route]["kind"], policy["decoding"]
    # A service of the user's own may do what it likes. Answers from documents take the same seed every time.
    fixed = kind == "rag" and decoding["seed"] is not None
    return kind == "http" or (decoding["temperature"] > 0 and not fixed)


async def _last_usage(app: Application, dataset: Dataset) -> Mapping[str, Any]:
    """Return what the calls of the newest evaluation on these cases took; empty when none tells."""
    for body in reversed(await stored_evaluations(app)):
        usage = body.get("usage") or {}
        if body.get("binding", {}).get("dataset") == dataset.digest and usage.get("calls"):
            return {**usage, "of": body["id"]}
    return {}
