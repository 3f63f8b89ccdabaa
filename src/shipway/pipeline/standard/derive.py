"""The pipeline of a project that defines none: the stages that its repository has something for.

One graph holds four pipelines, told apart by what starts a run: a pull request (and by hand) checks and evaluates, a
push to the main branch deploys as well, a model update compares with production and deploys, the schedule tests all.
`services.default_pipeline` calls it; `write` turns the result into the section of the project file.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from shipway.config.sections.pipeline import Circumstances, Part, Stage
from shipway.pipeline.standard.repository import Repository

NIGHTLY = "17 3 * * *"
"""When the schedule starts a derived pipeline, unless `ci.schedule` says it: five cron fields, UTC."""
_CODE: tuple[Part, ...] = ("code",)
_RETRIEVAL: tuple[Part, ...] = ("data", "policy")
_KEY = "SHIPWAY_TARGET_KEY"
"""The variable with the key that what runs is asked with."""
_BELOW = frozenset({"release", "rag-build", "evaluate"})
"""Whoever needs the gate needs these."""
_EVALUATION_TIMEOUT_S = 3600.0
_ROLLOUT_TIMEOUT_S = 7200.0


@dataclass(frozen=True, slots=True)
class Derived:
    """A derived pipeline. `because` says of each stage what it is from, `missing` what would bring more stages."""

    stages: Mapping[str, Stage] = field(default_factory=dict, hash=False)
    because: Mapping[str, str] = field(default_factory=dict, hash=False)
    missing: tuple[str, ...] = ()


Found = tuple[str, Stage, str]
"""A stage's name, the stage, and what in the repository it is from."""


def derived(repository: Repository) -> Derived:
    """Return the pipeline for what a repository has; it always has a release to make."""
    stages: dict[str, Stage] = {}
    because: dict[str, str] = {}
    for group in (_quality, _tests, _release, _judging, _image, _deployment, _nightly):
        for name, stage, why in group(repository, stages):
            stages[name], because[name] = stage, why
    return Derived(stages, because, tuple(_missing(repository)))


def _quality(found: Repository, _before: Mapping[str, Stage]) -> Iterator[Found]:
    """Static checks: they look at code alone."""
    if not found.python:
        return
    tools = (
        ("lint", "lint", found.ruff),
        ("format", "black" if found.black else "format", found.black or found.ruff),
        ("typecheck", "types", found.mypy),
        ("security", "security", found.bandit),
    )
    for name, uses, where in tools:
        if where:
            yield name, _stage(uses, when=Circumstances(changed=_CODE)), where


def _tests(found: Repository, _before: Mapping[str, Stage]) -> Iterator[Found]:
    if found.tests:
        options: dict[str, Any] = {"paths": [found.tests]}
        if found.integration:
            options["arguments"] = [f"--ignore={found.integration}"]
        yield "unit", _stage("tests", with_=options), found.tests
    if found.integration:
        needs = ("unit",) if found.tests else ()
        beside = ["redis", "mock-llm"] if found.redis else ["mock-llm"]
        with_ = {"paths": [found.integration], "markers": "", "beside": beside}
        when = Circumstances(tiers=("pr", "full"))
        yield "integration", _stage("integration", needs=needs, with_=with_, when=when), found.integration


def _release(found: Repository, _before: Mapping[str, Stage]) -> Iterator[Found]:
    documents = (f"{found.corpus}/**",) if found.corpus else ()
    if found.corpus:
        yield "rag-build", _stage("rag-build", inputs=(*found.settings, *documents)), found.corpus
    cases = (found.dataset,) if found.dataset else ()
    inputs = () if found.parts is None else (*found.settings, *found.parts, *documents, *cases)
    needs = ("rag-build",) if found.corpus else ()
    yield "release", _stage("release", needs=needs, inputs=inputs), "shipway.yaml"


def _judging(found: Repository, _before: Mapping[str, Stage]) -> Iterator[Found]:
    """The evaluation is kept for the same release, cases and settings; the gate judges it anew each time."""
    if not (found.dataset and found.gates):
        return
    judged, where = Circumstances(tiers=("pr", "full")), f"{found.dataset} and gates"
    inputs = (*found.settings, found.dataset) if found.embedded else ()
    common: dict[str, Any] = {"inputs": inputs, "timeout_s": _EVALUATION_TIMEOUT_S}
    yield "evaluate", _stage("evaluate", needs=("release",), when=judged, **common), where
    yield "gate", _stage("gate", needs=("evaluate",), when=judged), where
    if found.corpus and found.recall_metric and found.terms:
        limits = {"recall_min": found.recall_min, "keyword_min": found.keyword_min}
        with_ = {"recall_metric": found.recall_metric} | {
            name: value for name, value in limits.items() if value is not None
        }
        when = Circumstances(changed=_RETRIEVAL, tiers=("pr", "full"))
        why = f"{found.corpus}, {found.terms} and the gate on {found.recall_metric}"
        # After the evaluation: both ask the same model.
        yield "rag-integration", _stage("rag-integration", needs=("evaluate",), with_=with_, when=when, **common), why
    update = Circumstances(events=("model_update",))
    yield "cost", _stage("cost", needs=("release",), when=update), where
    if "safety" in found.gates:
        when = Circumstances(events=("schedule", "model_update"), tiers=("full",))
        yield "safety", _stage("safety", needs=("evaluate",), when=when), "gates that tolerate nothing"
    if "regression" in found.gates:
        yield "regression", _stage("regression", needs=("evaluate",), when=update), "gates against what is stable"


def _image(found: Repository, before: Mapping[str, Stage]) -> Iterator[Found]:
    """A prompt is no part of an image; the release brings it."""
    if not found.dockerfile:
        return
    checks = tuple(name for name in ("lint", "typecheck", "unit") if name in before)
    options: dict[str, Any] = {"repository": found.image, "dockerfile": found.dockerfile}
    needs = (*checks, "release")
    built = Circumstances(changed=_CODE, tiers=("pr", "full"))
    yield "build", _stage("image", needs=needs, with_=options, when=built), found.dockerfile
    if found.registry:
        pushed = _deployed(found, changed=_CODE)
        options = options | {"push": True}
        yield (
            "push",
            _stage("image", needs=("build",), with_=options, when=pushed),
            f"{found.dockerfile}, {found.image}",
        )


def _deployment(found: Repository, before: Mapping[str, Stage]) -> Iterator[Found]:
    """What nothing judges is not deployed by itself."""
    if "gate" not in before:
        return
    when = _deployed(found)
    needs = tuple(name for name in before if name not in _BELOW)
    if found.staging:
        staging = {"environment": "staging", "concurrency": "staging", "timeout_s": _ROLLOUT_TIMEOUT_S}
        # Where nobody asks, no traffic proves anything: healthy for a while is what can be shown there.
        with_ = {"strategy": "" if found.strategy == "swap" else "blue-green"}
        yield "staging", _stage("staging", needs=needs, when=when, with_=with_, **staging), found.staging
        needs = ("staging",)
        if found.smoke:
            yield "smoke", _smoke(found, "staging"), f"{found.smoke}, {found.staging}"
            needs = ("smoke",)
    # The approval of a person stands before the environment, so only the stage that changes it names it.
    production = {"environment": "production", "concurrency": "production"}
    with_ = {} if found.strategy == "canary" else {"strategy": ""}
    yield "canary", _stage("canary", needs=needs, when=when, with_=with_, **production), "gates"
    needs = ("canary",)
    if found.smoke and not found.staging:
        yield "smoke", _smoke(found, "canary"), found.smoke
        needs = ("canary", "smoke")
    yield "monitor", _stage("monitor", needs=needs, when=when, timeout_s=_ROLLOUT_TIMEOUT_S), "gates"
    if found.contact:
        with_ = {"to": "slack", "url": found.contact}
        env = (found.contact.removeprefix("env:"),) if found.contact.startswith("env:") else ()
        yield "notify", _stage("notify", needs=("monitor",), when=when, with_=with_, env=env), "contacts"


def _smoke(found: Repository, after: str) -> Stage:
    with_ = {"file": found.smoke, "key_env": _KEY}
    return _stage("smoke", needs=(after,), when=_deployed(found), with_=with_, env=(_KEY,))


def _nightly(found: Repository, before: Mapping[str, Stage]) -> Iterator[Found]:
    """What takes long or breaks things; load and chaos ask what runs, so last and one after the other."""
    when = Circumstances(events=("schedule",), tiers=("full",))
    if found.dataset:
        yield "data", _stage("data", when=when), found.dataset
    env = (_KEY,)
    # What else runs then would be measured, too.
    below = _BELOW if "gate" in before else {"rag-build"}
    needs = tuple(name for name, stage in before.items() if name not in below and _is_nightly(stage))
    if found.load_plan:
        with_ = {"plan": found.load_plan}
        yield "load", _stage("load", needs=needs, when=when, with_=with_, env=env), found.load_plan
        needs = ("load",)
    if found.chaos_plan:
        with_ = {"plan": found.chaos_plan}
        yield "chaos", _stage("chaos", needs=needs, when=when, with_=with_, env=env), found.chaos_plan


def _is_nightly(stage: Stage) -> bool:
    return not stage.when.events or "schedule" in stage.when.events


def _missing(found: Repository) -> Iterator[str]:
    if not found.dataset:
        yield "no cases to judge a release on (evals.dataset): no evaluation, and nothing is deployed"
    elif not found.gates:
        yield "no gates: no evaluation, and nothing is deployed"
    if found.dockerfile and not found.registry:
        yield f"no registry for the image (image of a service with build in compose.yaml): {found.image} is not pushed"
    if found.gates and "regression" not in found.gates:
        yield "no gate of non_regression or model_update: a model update is not compared with what is stable"


def _deployed(found: Repository, changed: tuple[Part, ...] = ()) -> Circumstances:
    return Circumstances(
        events=("push", "model_update"), branches=found.branches, changed=changed, tiers=("pr", "full")
    )


def _stage(uses: str, **settings: Any) -> Stage:
    return Stage(uses=uses, **settings)
