"""The file of a chaos run: YAML whose every problem is told with its line; `shipway chaos PLAN.yaml` reads it."""

from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError

from shipway.chaos.plan import ChaosPlan, Experiment, Kind, Promises, Setting, default_experiments, promised
from shipway.config.problems import key_problems, placed
from shipway.config.sections.secrets import SecretRef
from shipway.config.sections.section import Section
from shipway.config.yaml_source import dotted, read_yaml
from shipway.core.errors import ConfigError


class PromisesSection(Section):
    """What is promised; a key that is left out is what Shipway promises."""

    statuses: tuple[int, ...] | None = None
    min_served: float | None = Field(None, ge=0, le=1)
    answered_within_s: float | None = Field(None, gt=0, le=600)
    recovers_within_s: float | None = Field(None, gt=0, le=600)
    retry_after: bool | None = None
    openai_errors: bool | None = None
    records: bool | None = None
    rollout: bool | None = None


class ExperimentSection(Section):
    """One experiment."""

    fault: Kind
    for_s: float = Field(5.0, gt=0, le=600)
    delay_s: float | None = Field(None, gt=0, le=600)
    share: float = Field(1.0, gt=0, le=1)
    promises: PromisesSection = PromisesSection()


class ChaosSection(Section):
    """A whole plan. Without experiments: all of them."""

    route: str = ""
    key: SecretRef | None = None
    rate: float = Field(5.0, gt=0, le=100)
    steady_s: float = Field(3.0, gt=0, le=600)
    prompt: str = "Say hello."
    experiments: tuple[ExperimentSection, ...] = ()
    processes: dict[str, int] = Field(default_factory=dict)
    """The pids of a Redis or a Postgres of the project's own: nothing that `up` did not start is touched unnamed."""


def read_plan(path: Path) -> ChaosSection:
    """Return what a file says.

    Raises:
        NotFoundError: there is no such file.
        ConfigError: everything that is wrong, each with file and line.
    """
    source = read_yaml(path, path.name)
    try:
        section = ChaosSection.model_validate(source.data)
    except ValidationError as error:
        unknown = {tuple(item["loc"]) for item in error.errors() if item["type"] == "extra_forbidden"}
        known = [problem for problem in key_problems(error, source.data) if problem.path not in unknown]
        told = [f"{source.places[at]}: {dotted(at)}: unknown key" for at in sorted(unknown, key=str)]
        raise ConfigError([*told, *(placed(problem, source.places, path.name) for problem in known)]) from error
    wrong = sorted(set(section.processes) - {"redis", "postgres"})
    if wrong:
        raise ConfigError([f"{source.places[('processes', wrong[0])]}: processes: give redis or postgres"])
    return section


def planned(section: ChaosSection, setting: Setting) -> ChaosPlan:
    """Return the plan of a section for a project."""
    found = tuple(_experiment(item, setting) for item in section.experiments)
    return ChaosPlan(
        found or default_experiments(setting), section.route, section.rate, section.steady_s, section.prompt
    )


def _experiment(section: ExperimentSection, setting: Setting) -> Experiment:
    promises = promised(section.fault, setting)
    given: dict[str, Any] = {
        item.name: value for item in fields(Promises) if (value := getattr(section.promises, item.name)) is not None
    }
    delay_s = section.delay_s or setting.llm_timeout_s + 1.0
    return Experiment(section.fault, replace(promises, **given), section.for_s, delay_s, section.share)
