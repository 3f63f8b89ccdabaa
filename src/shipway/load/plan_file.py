"""The file of a load test: YAML whose every problem is told with its line; `shipway load PLAN.yaml` reads it."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError

from shipway.config.credentials import credentials_in
from shipway.config.problems import key_problems, placed
from shipway.config.sections.secrets import SecretRef
from shipway.config.sections.section import Section
from shipway.config.yaml_source import Place, YamlFile, dotted, read_yaml
from shipway.core.errors import ConfigError, UsageError
from shipway.load.plan import (
    CHAT_PATH,
    DEFAULT_LIMITS,
    FIGURES,
    PROFILES,
    Arrivals,
    Kind,
    Limits,
    LoadPlan,
    Stage,
    Template,
)

_LARGEST_MIX_BYTES = 50_000_000
_MOST_TEMPLATES = 10_000


class StageSection(Section):
    """A stage: `{rate: 5, for_s: 60}` or `{users: 10, to: 100, for_s: 30}`."""

    rate: float | None = Field(None, ge=0, le=100_000)
    users: int | None = Field(None, ge=0, le=10_000)
    to: float | None = Field(None, ge=0, le=100_000)
    for_s: float = Field(gt=0)
    measured: bool = True


class RequestSection(Section):
    """One kind of request: a prompt, or a whole body for any path of the same server."""

    name: str = ""
    weight: float = Field(1.0, gt=0, le=1_000_000)
    prompt: str | None = None
    body: dict[str, Any] | None = None
    path: str = CHAT_PATH
    max_tokens: int | None = Field(None, ge=1)


class RecordedSection(Section):
    """The project's recorded, masked traffic, as `shipway replay` reads it."""

    route: str = ""
    log: Path | None = None
    limit: int = Field(200, ge=1, le=10_000)


class PlanSection(Section):
    """A whole plan. Without stages: the default profile, 10 to 100 users."""

    url: str = ""
    route: str = ""
    model: str = ""
    key: SecretRef | None = None
    profile: Literal["default", "staging"] = "default"
    stages: tuple[StageSection, ...] = ()
    arrivals: Arrivals = Arrivals.POISSON
    warmup_s: float = Field(5.0, ge=0)
    think_s: tuple[float, float] = (1.0, 3.0)
    timeout_s: float = Field(60.0, gt=0, le=3600)
    max_in_flight: int = Field(2000, ge=1, le=50_000)
    max_requests: int = Field(200_000, ge=1, le=1_000_000)
    stream: bool = True
    unique: bool = True
    seed: int = Field(1, ge=0)
    requests: tuple[RequestSection, ...] = ()
    requests_file: Path | None = None
    recorded: RecordedSection | None = None
    limits: dict[str, float] | None = None


@dataclass(frozen=True, slots=True)
class PlanFile:
    """What a file says: the plan, whom it asks, where its requests come from; relative paths are below `folder`."""

    plan: LoadPlan
    url: str = ""
    route: str = ""
    model: str = ""
    key: SecretRef | None = field(default=None, repr=False)
    requests: tuple[RequestSection, ...] = ()
    requests_file: Path | None = None
    recorded: RecordedSection | None = None
    folder: Path = Path()
    key_folder: Path | None = None
    """Where a key that is a file lies, if somewhere else."""


def read_plan(path: Path) -> PlanFile:
    """Return the plan of a file.

    Raises:
        NotFoundError: there is no such file.
        ConfigError: everything that is wrong, each with file and line.
    """
    shown = path.name
    source = read_yaml(path, shown)
    leaked = [f"{_place(source, shown, at)}: {dotted(at)}: a credential" for at in credentials_in(source.data)]
    if leaked:
        raise ConfigError(leaked, hint="write key: {env: NAME} or {file: path}, and rotate what stood there")
    try:
        section = PlanSection.model_validate(source.data)
    except ValidationError as error:
        raise ConfigError(problem_lines(error, source, shown)) from error
    problems = [f"{_place(source, shown, at)}: {message}" for at, message in _problems(section)]
    if problems:
        raise ConfigError(problems)
    try:
        return planned(section, path.parent)
    except UsageError as error:
        raise ConfigError([f"{shown}: {error.message}"]) from error


def problem_lines(error: ValidationError, source: YamlFile, shown: str) -> list[str]:
    """Return what is wrong with a plan, as lines with places."""
    unknown = {
        tuple(item["loc"]): f"{_place(source, shown, tuple(item['loc']))}: {dotted(tuple(item['loc']))}: unknown key"
        for item in error.errors()
        if item["type"] == "extra_forbidden"
    }
    known = [problem for problem in key_problems(error, source.data) if problem.path not in unknown]
    return [*unknown.values(), *(placed(problem, source.places, shown) for problem in known)]


def planned(section: PlanSection, folder: Path) -> PlanFile:
    """Return what a section says.

    Raises:
        UsageError: a plan that asks nothing or never ends.
    """
    limits = DEFAULT_LIMITS if section.limits is None else Limits(dict(section.limits))
    kind = Kind.RATE if section.stages and section.stages[0].rate is not None else Kind.USERS
    plan = LoadPlan(
        kind=kind,
        stages=tuple(map(_stage, section.stages)) or tuple(PROFILES[section.profile]),
        limits=limits,
        arrivals=section.arrivals,
        warmup_s=section.warmup_s,
        think_s=section.think_s,
        timeout_s=section.timeout_s,
        max_in_flight=section.max_in_flight,
        max_requests=section.max_requests,
        stream=section.stream,
        unique=section.unique,
        seed=section.seed,
    )
    named = (section.url, section.route, section.model, section.key)
    return PlanFile(plan, *named, section.requests, section.requests_file, section.recorded, folder)


def template(section: RequestSection, name: str, model: str) -> Template:
    """Return the request of a section.

    Raises:
        UsageError: neither a prompt nor a body, or both.
    """
    if (section.prompt is None) == (section.body is None):
        raise UsageError(f"request {section.name or name}: give exactly one of prompt, body")
    if not is_path(section.path):
        raise UsageError(f"request {section.name or name}: {section.path!r} is no path such as {CHAT_PATH}")
    body: dict[str, Any] = dict(section.body or {})
    if section.prompt is not None:
        body["messages"] = [{"role": "user", "content": section.prompt}]
    if section.max_tokens is not None:
        body["max_tokens"] = section.max_tokens
    if model:
        body.setdefault("model", model)
    return Template(section.name or name, body, section.weight, section.path)


def is_path(text: str) -> bool:
    """Tell whether a text is the path of an address on the same server."""
    return text.startswith("/") and not text.startswith("//") and text.isascii() and not set(text) & set(" #\r\n\t")


def mix_rows(data: bytes, shown: str) -> list[RequestSection]:
    """Return the requests of JSON lines.

    Raises:
        ConfigError: everything that is wrong, each with file and line.
    """
    if len(data) > _LARGEST_MIX_BYTES:
        raise ConfigError([f"{shown}: larger than {_LARGEST_MIX_BYTES} bytes"])
    rows, problems = [], []
    for number, line in enumerate(data.splitlines(), start=1):
        if not line.strip():
            continue
        try:
            rows.append(RequestSection.model_validate(json.loads(line)))
        except ValidationError as error:
            first = error.errors()[0]
            problems.append(f"{shown}:{number}: {dotted(tuple(first['loc']))}: {first['msg']}")
        except ValueError:
            problems.append(f"{shown}:{number}: no JSON object")
    if not rows and not problems:
        problems.append(f"{shown}: no request in it")
    if len(rows) > _MOST_TEMPLATES:
        problems.append(f"{shown}: {len(rows)} requests are more than {_MOST_TEMPLATES}")
    if problems:
        raise ConfigError(problems)
    return rows


def _stage(section: StageSection) -> Stage:
    start = float((section.users if section.rate is None else section.rate) or 0)
    return Stage(section.for_s, start, start if section.to is None else section.to, section.measured)


def _problems(section: PlanSection) -> Iterator[tuple[tuple[str | int, ...], str]]:
    yield from _stage_problems(section.stages)
    if section.url and section.route:
        yield ("route",), "route: the url names the target already"
    yield from _request_problems(section)
    for name, limit in (section.limits or {}).items():
        if name not in FIGURES:
            yield ("limits", name), f"limits.{name}: no such figure; known: {', '.join(FIGURES)}"
        elif limit < 0:
            yield ("limits", name), f"limits.{name}: must be at least 0, not {limit:g}"


def _stage_problems(stages: Sequence[StageSection]) -> Iterator[tuple[tuple[str | int, ...], str]]:
    kinds = set()
    for index, stage in enumerate(stages):
        if (stage.rate is None) == (stage.users is None):
            yield ("stages", index), "stages: give exactly one of rate, users"
        kinds.add(stage.rate is None)
    if len(kinds) > 1:
        yield ("stages",), "stages: either all with rate or all with users"


def _request_problems(section: PlanSection) -> Iterator[tuple[tuple[str | int, ...], str]]:
    sources = (bool(section.requests), section.requests_file is not None, section.recorded is not None)
    if sum(sources) > 1:
        yield ("requests",), "requests: give one of requests, requests_file, recorded"
    for index, item in enumerate(section.requests):
        if (item.prompt is None) == (item.body is None):
            yield ("requests", index), "requests: give exactly one of prompt, body"
        if not is_path(item.path):
            yield ("requests", index, "path"), f"requests: {item.path!r} is no path such as {CHAT_PATH}"


def _place(source: YamlFile, shown: str, path: tuple[str | int, ...]) -> Place:
    places: Mapping[tuple[str | int, ...], Place] = source.places
    while path and path not in places:
        path = path[:-1]
    return places[path] if path else Place(shown)
