"""The rollout plan of a project: its `rollout` section, a plan file over it, and the options of `shipway deploy`.

`rollout_faults` says what is wrong with it, and in which line.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from shipway.config.loading import PROJECT_FILE, LoadedProject
from shipway.config.problems import key_problems, placed
from shipway.config.sections.rollout import CanaryStep, RolloutPlan
from shipway.config.sections.rollout_evidence import MetricSettings, RulesSettings
from shipway.config.sections.section import Section
from shipway.config.yaml_source import KeyPath, Place, YamlFile, read_yaml
from shipway.core.errors import ConfigError, NotFoundError, UsageError
from shipway.core.snapshot import Segment
from shipway.rollouts.metrics import DEFAULT_METRICS, Metric
from shipway.rollouts.plan import STRATEGIES, Guardrails, Plan, Step
from shipway.rollouts.rules import RULES, Rule, Rules
from shipway.rollouts.strategies import StrategyOptions, with_strategy
from shipway.rollouts.watch import WatchPlan

SECTION = "rollout"
Changed = TypeVar("Changed", Metric, Rule, WatchPlan)


class _PlanFile(Section):
    """A plan file: the keys of `rollout`."""

    rollout: RolloutPlan


@dataclass(frozen=True, slots=True)
class PlanChoice:
    """What a deploy says about its plan: a file over the project's section, and a strategy over both."""

    file: Path | None = None
    strategy: str = ""


@dataclass(frozen=True, slots=True)
class ChosenPlan:
    """The section that a deploy goes by, and where each of its keys was written.

    `dropped_steps` is the strategy for which steps were written that do not count, because another one was chosen.
    """

    section: RolloutPlan
    places: Mapping[KeyPath, Place]
    dropped_steps: str = ""

    def place(self, key: KeyPath) -> Place:
        """Return where a person looks for a key of the section: its line or its mapping's."""
        path = (SECTION, *key)
        while path and path not in self.places:
            path = path[:-1]
        return self.places[path] if path else Place(PROJECT_FILE)


def project_plan(loaded: LoadedProject) -> ChosenPlan:
    """Return what a project says by itself."""
    return ChosenPlan(loaded.project.rollout, loaded.places)


def chosen_plan(project: ChosenPlan, choice: PlanChoice) -> ChosenPlan:
    """Return the section that a deploy goes by.

    Raises:
        ConfigError: every problem of the plan file, with its line.
        NotFoundError: there is no such file.
        UsageError: no strategy has that name.
    """
    if choice.strategy and choice.strategy not in STRATEGIES:
        raise UsageError(f"--strategy: {choice.strategy!r} is unknown; use one of {', '.join(STRATEGIES)}")
    chosen = project if choice.file is None else _over(project, choice.file)
    section = chosen.section
    if not choice.strategy or choice.strategy == section.strategy:
        return chosen
    # Steps that were written for another strategy mean something else in this one.
    kept = {name: getattr(section, name) for name in section.model_fields_set - {"steps", "strategy"}}
    dropped = section.strategy if "steps" in section.model_fields_set else chosen.dropped_steps
    return ChosenPlan(RolloutPlan(**kept, strategy=choice.strategy), chosen.places, dropped)


def has_own_steps(section: RolloutPlan) -> bool:
    """Tell whether a plan walks the section's steps: always where a strategy has none of its own."""
    return section.strategy in {"canary", "flag"} or "steps" in section.model_fields_set


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
    options = StrategyOptions(
        steps=tuple(_step(step) for step in section.steps) if has_own_steps(section) else (),
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


def _over(project: ChosenPlan, file: Path) -> ChosenPlan:
    """Return the section with the keys of a plan file over its own."""
    found = _read(file)
    wrapped = SECTION in found.data
    beside = [key for key in found.data if key != SECTION] if wrapped else []
    if beside:
        raise ConfigError(
            [f"{found.places[key,]}: {key}: stands beside `{SECTION}`, which holds the plan" for key in beside],
            hint=f"a plan file has keys of `{SECTION}` in shipway.yaml, or `{SECTION}` alone with the keys below it",
        )
    keys = found.data[SECTION] if wrapped else found.data
    places = found.places if wrapped else {(SECTION, *path): place for path, place in found.places.items()}
    if not keys:
        # The project's own plan would be carried out under the name of a file that says nothing.
        raise ConfigError([f"{file}: there is no key in it"], hint="a plan file has keys of `rollout` in shipway.yaml")
    own: dict[str, Any] = project.section.model_dump(exclude_unset=True)
    dropped = ""
    if isinstance(keys, dict) and keys.get("strategy", project.section.strategy) != project.section.strategy:
        dropped = project.section.strategy if own.pop("steps", None) and "steps" not in keys else ""
    data = {SECTION: {**own, **keys} if isinstance(keys, dict) else keys}
    try:
        section = _PlanFile.model_validate(data).rollout
    except ValidationError as error:
        lines = [placed(problem, places, str(file)) for problem in key_problems(error, data)]
        raise ConfigError(lines, hint="a plan file has keys of `rollout` in shipway.yaml") from error
    # A key of the file replaces the project's with all that is below it.
    replaced = {(SECTION, key) for key in keys}
    kept = {path: place for path, place in project.places.items() if path[:2] not in replaced}
    return ChosenPlan(section, {**kept, **places}, dropped)


def _read(file: Path) -> YamlFile:
    try:
        return read_yaml(file, str(file))
    except NotFoundError as error:
        raise NotFoundError(f"--plan {file}: no such file", hint="name a YAML file with keys of `rollout`") from error
