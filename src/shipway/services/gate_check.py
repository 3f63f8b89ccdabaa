"""Whether a project's gates can say anything about its cases: asked by its check, and before a release is made.

A gate that cannot see the effect it is asked for is refused when it is written, not when it fails.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial

from shipway.config.loading import LoadedProject
from shipway.config.project import Project
from shipway.config.sections.evals import Evals
from shipway.config.sections.gates import Gate
from shipway.config.sections.models import Price
from shipway.core.errors import ConfigError, UsageError
from shipway.evals.gate_spec import GateSpec, NonRegressionGate, parse_gates, with_model_update
from shipway.evals.gates import check_gates
from shipway.evals.model import Dataset
from shipway.evals.power import PowerRow, check_family, power_row
from shipway.evals.sample import judged_cases
from shipway.evals.tools.gating import is_tool_metric
from shipway.services.application import Application
from shipway.services.gates import gate_metrics, gate_specs, own_sd
from shipway.services.judges.rubrics import demand_rubric, judge_file_problems
from shipway.services.project_dataset import project_dataset
from shipway.services.project_lines import tried

_NO_CASES = Dataset("", ())


@dataclass(frozen=True, slots=True)
class Counts:
    """How often an evaluation asks each case, and how many looks it may take."""

    repeats: int
    looks: int

    @classmethod
    def of(cls, settings: Evals) -> "Counts":
        """Return what the project says."""
        return cls(settings.repeats, settings.looks)


def gate_problems(
    loaded: LoadedProject, dataset: Dataset | None, counts: Counts | None = None, *, releases: bool = True
) -> Iterator[str]:
    """Yield what is wrong with the gates, a line each; without the cases only what does not depend on them.

    Without `releases` something else is judged, which may have what no release of the project has.
    """
    settings = loaded.project.evals
    counts, cases = counts or Counts.of(settings), dataset or _NO_CASES
    yield from tried(loaded, ("evals", "metrics"), partial(gate_metrics, (), settings, repeats=counts.repeats))
    alone = settings.model_copy(update={"metrics": ()})
    parsed: list[tuple[int, GateSpec]] = []
    for index, gate in enumerate(loaded.project.gates):
        key = ("gates", index)
        wrong = [*tried(loaded, key, partial(_check_gate, gate, cases, alone, counts))]
        yield from wrong
        if releases and not wrong:
            yield from tried(loaded, key, partial(_demand_data, gate, loaded.project))
        if not wrong:
            yield from tried(loaded, key, partial(demand_rubric, gate, loaded.project, cases))
        parsed += [(index, spec) for spec in _own_specs(gate)]
    family = [(index, spec) for index, spec in parsed if isinstance(spec, NonRegressionGate)]
    for index, spec in family[1:]:
        # Each with the first alone, so that every line that differs is named.
        yield from tried(loaded, ("gates", index), partial(check_family, [family[0][1], spec]))
    yield from _update_problems(loaded, cases, counts, [spec for _, spec in parsed])


def demand_gates(loaded: LoadedProject, dataset: Dataset, counts: Counts, *, releases: bool = True) -> None:
    """Refuse gates that make no sense or can never decide.

    Raises:
        ConfigError: what is wrong with them, a line each with its place.
    """
    problems = [*gate_problems(loaded, dataset, counts, releases=releases)]
    if problems:
        raise ConfigError(problems)


async def gate_power(app: Application, *, looks: int | None = None) -> list[PowerRow]:
    """Return what each gate can see of the project's cases, refused or not.

    Raises:
        DatasetError: the dataset is malformed.
        ConfigError: a gate that makes no sense.
    """
    dataset, settings = await project_dataset(app.loaded), app.project.evals
    if dataset is None:
        raise UsageError("the project names no dataset and has no gates", hint="write `evals` and `gates`")
    counts, sd = Counts(settings.repeats, looks or settings.looks), await own_sd(app, dataset)
    demand_gates(app.loaded, _NO_CASES, counts)
    unjudged = [*_judge_problems(app.loaded, dataset)]
    if unjudged:
        raise ConfigError(unjudged)
    specs, places = gate_specs(app.project), _places(app.loaded)
    metrics = gate_metrics(specs, settings, repeats=counts.repeats)
    found = []
    for spec in specs:
        metric = metrics[spec.metric]
        cases = judged_cases(dataset, metric, spec.tags)
        row = power_row(spec, metric, cases, looks=counts.looks, sd=sd)
        found.append(replace(row, place=places.get(spec.label, "")))
    return found


def _judge_problems(loaded: LoadedProject, dataset: Dataset) -> Iterator[str]:
    """Yield why gates never get a judgement, which is no question of power."""
    yield from judge_file_problems(loaded)
    for index, gate in enumerate(loaded.project.gates):
        yield from tried(loaded, ("gates", index), partial(demand_rubric, gate, loaded.project, dataset))


def _places(loaded: LoadedProject) -> dict[str, str]:
    """Return where each gate was written, by its words; what a model update adds is where that stands."""
    found: dict[str, str] = {}
    for index, gate in enumerate(loaded.project.gates):
        place = str(loaded.nearest_place(("gates", index)))
        added = gate_specs(loaded.project) if gate.model_update else _own_specs(gate)
        for spec in added:
            if not gate.model_update or (isinstance(spec, NonRegressionGate) and spec.model_update):
                found.setdefault(spec.label, place)
    return found


def _own_specs(gate: Gate) -> list[GateSpec]:
    if is_tool_metric(gate.metric):
        return []
    try:
        return parse_gates([gate.model_dump(exclude_defaults=True)])
    except UsageError:
        return []  # said already


def _check_gate(gate: Gate, dataset: Dataset, settings: Evals, counts: Counts) -> None:
    try:
        specs = parse_gates([gate.model_dump(exclude_defaults=True)])
    except UsageError as error:
        # Its place in the list of one; the caller knows that of the project.
        raise UsageError(error.message.removeprefix("gates[0]: "), hint=error.hint) from error
    if is_tool_metric(gate.metric):
        return  # its cases are the tool's, and known when the tool has run
    metrics = gate_metrics(specs, settings, repeats=counts.repeats)
    check_gates(specs, dataset, metrics, looks=counts.looks)


def _demand_data(gate: Gate, project: Project) -> None:
    """Refuse a gate on what no answer of this project's releases can have: it has no data for ever."""
    missing, hint = _never_there(gate.metric, project)
    if missing:
        raise UsageError(
            f"{gate.metric} applies to no case, so the gate never has data: {missing}",
            hint=f"{hint}, or remove the gate",
        )


def _never_there(metric: str, project: Project) -> tuple[str, str]:
    """Return why no release has a metric, and what to do; empty where one may have it."""
    if metric == "tenant_leak" and project.corpus is None:
        return "it is judged by who may see which document, and the project has no corpus", "add `corpus`"
    if project.evals.target is not None:
        return "", ""  # another target says itself what it cites and costs
    kinds = {route.kind for route in project.routes.values()}
    if metric == "citation_resolves" and "rag" not in kinds:
        return "answers of routes that are not of kind rag cite nothing", "add a route of kind rag"
    if metric == "cost_usd" and all(entry.price == Price() for entry in project.models.values()):
        return "no model has a price", "add `price` to the model that answers"
    return "", ""


def _update_problems(loaded: LoadedProject, dataset: Dataset, counts: Counts, specs: list[GateSpec]) -> Iterator[str]:
    """Yield what is wrong with the comparisons that a model update adds to gates that are fine by themselves."""
    for index, gate in enumerate(loaded.project.gates):
        if not gate.model_update:
            continue
        yield from tried(loaded, ("gates", index), partial(_demand_compared, gate, specs))
    if any(gate.model_update for gate in loaded.project.gates):
        yield from tried(loaded, ("gates",), partial(_check_update, loaded, dataset, counts))


def _demand_compared(gate: Gate, specs: list[GateSpec]) -> None:
    update = NonRegressionGate("", tags=tuple(gate.tags), model_update=True)
    if not any(isinstance(spec, NonRegressionGate) and spec.model_update for spec in with_model_update(specs, update)):
        raise UsageError(
            "model_update compares nothing: it compares what other gates judge by `min`, `max` or `non_regression`,"
            " and there is none",
            hint="add one, such as `{ metric: correct, non_regression: auto }`",
        )


def _check_update(loaded: LoadedProject, dataset: Dataset, counts: Counts) -> None:
    """Refuse the comparisons that a model update adds, where a gate of that metric stands alone and is fine."""
    specs = gate_specs(loaded.project)
    added = [spec for spec in specs if isinstance(spec, NonRegressionGate) and spec.model_update]
    metrics = gate_metrics(added, loaded.project.evals, repeats=counts.repeats)
    check_gates(added, dataset, metrics, looks=counts.looks)


async def refuse_blind_gates(loaded: LoadedProject) -> None:
    """Let nobody make a release that its own gates can say nothing about.

    Raises:
        ConfigError: what is wrong with the gates, a line each.
        DatasetError: the cases are missing or malformed.
    """
    problems = [*gate_problems(loaded, await project_dataset(loaded))]
    if problems:
        raise ConfigError(problems)
