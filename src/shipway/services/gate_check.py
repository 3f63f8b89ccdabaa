"""Whether a project's gates can say anything about its cases: asked by its check, and before a release is made.

A gate that cannot see the effect it is asked for is refused when it is written, not when it fails.
"""

from collections.abc import Iterator
from functools import partial

from shipway.config.loading import LoadedProject
from shipway.config.sections.evals import Evals
from shipway.config.sections.gates import Gate
from shipway.core.errors import ConfigError, UsageError
from shipway.evals.gate_spec import GateSpec, NonRegressionGate, parse_gates
from shipway.evals.gates import check_gates
from shipway.evals.model import Dataset
from shipway.evals.power import check_family
from shipway.evals.tools.gating import is_tool_metric
from shipway.services.gates import gate_metrics, gate_specs
from shipway.services.project_dataset import project_dataset
from shipway.services.project_lines import tried


def gate_problems(loaded: LoadedProject, dataset: Dataset | None) -> Iterator[str]:
    """Yield what is wrong with the gates, a line each; without the cases only what does not depend on them."""
    parsed: list[tuple[int, GateSpec]] = []
    settings = loaded.project.evals
    yield from tried(loaded, ("evals", "metrics"), partial(gate_metrics, (), settings))
    alone = settings.model_copy(update={"metrics": ()})
    for index, gate in enumerate(loaded.project.gates):
        yield from tried(loaded, ("gates", index), partial(_check_gate, gate, dataset, alone))
        parsed += [(index, spec) for spec in _own_specs(gate)]
    family = [(index, spec) for index, spec in parsed if isinstance(spec, NonRegressionGate)]
    for index, spec in family[1:]:
        # Each with the first alone, so that every line that differs is named.
        yield from tried(loaded, ("gates", index), partial(check_family, [family[0][1], spec]))
    if any(gate.model_update for gate in loaded.project.gates):
        yield from tried(loaded, ("gates",), partial(_check_update, loaded, dataset))


def _own_specs(gate: Gate) -> list[GateSpec]:
    if is_tool_metric(gate.metric):
        return []
    try:
        return parse_gates([gate.model_dump(exclude_defaults=True)])
    except UsageError:
        return []  # said already


def _check_gate(gate: Gate, dataset: Dataset | None, settings: Evals) -> None:
    specs = parse_gates([gate.model_dump(exclude_defaults=True)])
    if is_tool_metric(gate.metric):
        return  # its cases are the tool's, and known when the tool has run
    if dataset is not None:
        check_gates(specs, dataset, gate_metrics(specs, settings), looks=settings.looks)
    elif specs and not isinstance(specs[0], NonRegressionGate):
        # Whether a drop can be seen depends on the cases, which could not be read; nothing else does.
        check_gates(specs, Dataset("", ()), gate_metrics(specs, settings))


def _check_update(loaded: LoadedProject, dataset: Dataset | None) -> None:
    """Refuse the comparisons that a model update adds, where a gate of that metric stands alone and is fine."""
    specs = gate_specs(loaded.project)
    added = [spec for spec in specs if isinstance(spec, NonRegressionGate) and spec.model_update]
    if dataset is not None:
        check_gates(added, dataset, gate_metrics(added, loaded.project.evals), looks=loaded.project.evals.looks)


async def refuse_blind_gates(loaded: LoadedProject) -> None:
    """Let nobody make a release that its own gates can say nothing about.

    Raises:
        ConfigError: what is wrong with the gates, a line each.
        DatasetError: the cases are missing or malformed.
    """
    problems = [*gate_problems(loaded, await project_dataset(loaded))]
    if problems:
        raise ConfigError(problems)
