"""The rollout plan of a project: its `rollout` section, a plan file over it, and the options of `shipway deploy`."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from shipway.config.loading import LoadedProject
from shipway.config.problems import key_problems, placed
from shipway.config.sections.rollout import CanaryStep, RolloutPlan
from shipway.config.sections.rollout_evidence import MetricSettings, RulesSettings
from shipway.config.sections.section import Section
from shipway.config.yaml_source import KeyPath, read_yaml
from shipway.core.errors import ConfigError, NotFoundError, UsageError
from shipway.core.snapshot import Segment
from shipway.registry.model import Release
from shipway.rollouts.metrics import DEFAULT_METRICS, Metric
from shipway.rollouts.plan import STRATEGIES, Guardrails, Plan, Step
from shipway.rollouts.plan_check import problems
from shipway.rollouts.rules import RULES, Rule, Rules
from shipway.rollouts.strategies import StrategyOptions, with_strategy
from shipway.rollouts.watch import WatchPlan

_SECTION = "rollout"
Changed = TypeVar("Changed", Metric, Rule, WatchPlan)


class _PlanFile(Section):
    """A plan file: the keys of `rollout`."""

    rollout: RolloutPlan


@dataclass(frozen=True, slots=True)
class PlanChoice:
    """What a deploy says about its plan: a file over the project's section, and a strategy over both."""

    file: Path | None = None
    strategy: str = ""


def chosen_section(section: RolloutPlan, choice: PlanChoice) -> RolloutPlan:
    """Return the section that a deploy goes by.

    Raises:
        ConfigError: every problem of the plan file, with its line.
        NotFoundError: there is no such file.
        UsageError: no strategy has that name.
    """
    if choice.strategy and choice.strategy not in STRATEGIES:
        raise UsageError(f"--strategy: {choice.strategy!r} is unknown; use one of {', '.join(STRATEGIES)}")
    if choice.file is not None:
        section = _over(section, choice.file)
    if not choice.strategy or choice.strategy == section.strategy:
        return section
    # Steps that were written for another strategy mean something else in this one.
    kept = {name: getattr(section, name) for name in section.model_fields_set - {"steps", "strategy"}}
    return RolloutPlan(**kept, strategy=choice.strategy)


def plan_of(section: RolloutPlan) -> Plan:
    """Return the plan of a section."""
    base = Plan(
        alpha=section.alpha,
        promote_alpha=section.promote_alpha,
        harm_ratio=section.harm_ratio,
        harmless_rate=section.harmless_rate,
        events=section.events,
        guardrails=Guardrails(section.guardrails.max_error_rate, section.guardrails.min_samples),
        drain_s=section.drain_s,
        dead_man_s=section.dead_man_s,
        on_no_data=section.on_no_data,
        deadline_s=section.deadline_s,
        segments=tuple(Segment(item.tenants, item.groups, item.keys) for item in section.segments),
        start_timeout_s=section.start_timeout_s,
        unhealthy_s=section.unhealthy_s,
        on_harm=section.on_harm,
        ask_to_promote=section.ask_to_promote,
        timezone=section.timezone,
        smoke_file=section.smoke_file,
        metrics=_metrics(section.metrics),
        rules=_rules(section.rules),
        watch=_changed(WatchPlan(), section.watch),
    )
    own = section.strategy in {"canary", "flag"} or "steps" in section.model_fields_set
    options = StrategyOptions(
        steps=tuple(_step(step) for step in section.steps) if own else (),
        bake_s=section.bake_s,
        keep_s=section.keep_s,
        batches=section.batches,
        sample=section.sample,
        min_pairs=section.min_pairs,
        smoke=section.smoke,
        approval=section.approval,
        windows=section.windows,
    )
    return with_strategy(base, section.strategy, options)


def plan_problems(loaded: LoadedProject) -> list[str]:
    """Return what makes the plan of a project's `rollout` section impossible, as lines of its file."""
    found = problems(plan_of(loaded.project.rollout), routes=loaded.project.routes)
    if loaded.project.rollout.smoke_file and not (loaded.root / loaded.project.rollout.smoke_file).is_file():
        found.append(f"smoke_file: {loaded.project.rollout.smoke_file!r} is not there")
    return [f"{loaded.nearest_place(_key_path(line))}: {_SECTION}.{line}" for line in found]


def smoke_notes(plan: Plan, release: Release) -> list[str]:
    """Return what smoke checks will not see."""
    services = [name for name, route in release.manifest["policy"]["routes"].items() if route["kind"] == "http"]
    if not services or plan.smoke_file or not any(step.smoke for step in plan.steps):
        return []
    return [f"warning: smoke: without smoke_file nothing is asked of {', '.join(services)}; only its health counts"]


def require_possible(plan: Plan, release: Release, root: Path) -> None:
    """Check that a plan can run with a release; `root` is where its files lie.

    Raises:
        UsageError: with every problem, key and value.
    """
    routes = release.manifest["policy"]["routes"]
    faults = problems(plan, routes=routes)
    if plan.smoke_file and not (root / plan.smoke_file).is_file():
        faults.append(f"smoke_file: {plan.smoke_file!r} is not there; name a file of the project")
    if plan.shadows and all(route["kind"] == "http" for route in routes.values()):
        faults.append("steps: no route of this release can be copied to: a copy of a service's request may act twice")
    if faults:
        raise UsageError("\n".join(faults), hint="correct the `rollout` section or the plan file")


def _key_path(line: str) -> KeyPath:
    """Return the key that a problem's line begins with: `steps[1].weight: ...`."""
    key = line.partition(":")[0].partition(" ")[0]
    parts = [part for part in re.split(r"[.\[\]]", key) if part]
    return (_SECTION, *(int(part) if part.isdigit() else part for part in parts))


def _metrics(settings: Mapping[str, MetricSettings | None]) -> tuple[Metric, ...]:
    """Return the built-in metrics as changed, without those switched off, and the user's own."""
    known = {metric.name: metric for metric in DEFAULT_METRICS}
    for name, change in settings.items():
        if change is None:
            known.pop(name, None)
        else:
            # A new one without a kind is refused by `plan_check`, with the others' names.
            known[name] = _changed(known.get(name, Metric(name, "", 0.02)), change)
    return tuple(known.values())


def _rules(settings: RulesSettings) -> Rules:
    rules = Rules()
    changed = {name: _changed(getattr(rules, name), getattr(settings, name)) for name in RULES}
    others = {name: value for name in ("safety_events", "sure") if (value := getattr(settings, name)) is not None}
    return replace(rules, **changed, **others)


def _changed(value: Changed, settings: Section) -> Changed:
    """Return a value with what the settings name."""
    return replace(value, **settings.model_dump(exclude_none=True))


def _step(step: CanaryStep) -> Step:
    return Step(
        weight=step.weight,
        min_conversations=step.min_conversations,
        min_bake_s=step.min_bake_s,
        max_s=step.max_s,
        routes=tuple(step.routes.items()),
        shadow=step.shadow,
        min_pairs=step.min_pairs,
        smoke=step.smoke,
        approval=step.approval,
        windows=step.windows,
        prove=step.prove,
        traffic=step.traffic,
    )


def _over(section: RolloutPlan, file: Path) -> RolloutPlan:
    """Return the section with the keys of a plan file over its own."""
    if not file.is_file():
        raise NotFoundError(f"--plan {file}: no such file", hint="name a YAML file with keys of `rollout`")
    found = read_yaml(file, str(file))
    wrapped = set(found.data) == {_SECTION}
    keys = found.data[_SECTION] if wrapped else found.data
    places = found.places if wrapped else {(_SECTION, *path): place for path, place in found.places.items()}
    own: dict[str, Any] = section.model_dump(exclude_unset=True)
    if isinstance(keys, dict) and keys.get("strategy", section.strategy) != section.strategy:
        own.pop("steps", None)
    data = {_SECTION: {**own, **keys} if isinstance(keys, dict) else keys}
    try:
        return _PlanFile.model_validate(data).rollout
    except ValidationError as error:
        lines = [placed(problem, places, str(file)) for problem in key_problems(error, data)]
        raise ConfigError(lines, hint="a plan file has the keys of `rollout` in shipway.yaml") from error
