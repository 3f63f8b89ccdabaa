"""The order of stages: checked once, before anything runs. The CLI and the compilers to CI systems build graphs too."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from graphlib import TopologicalSorter

from shipway.config.pipeline_checks import find_circle, shared_variables, variable_part
from shipway.core.errors import UsageError
from shipway.pipeline.spec import StageSpec


@dataclass(frozen=True, slots=True)
class StageGraph:
    """Stages that can run, each after all it needs."""

    stages: Mapping[str, StageSpec]
    """In an order in which they could run one by one; among equals the order of definition."""
    rank: Mapping[str, int] = field(init=False, repr=False, compare=False)
    """The place of each stage in that order."""

    def __post_init__(self) -> None:
        """Number the stages."""
        object.__setattr__(self, "rank", {name: index for index, name in enumerate(self.stages)})

    def ancestors(self, name: str) -> tuple[str, ...]:
        """Return everything that a stage depends on, directly or not, in running order."""
        found: set[str] = set()
        waiting = list(self.stages[name].needs)
        while waiting:
            need = waiting.pop()
            if need not in found:
                found.add(need)
                waiting += self.stages[need].needs
        return tuple(sorted(found, key=self.rank.__getitem__))

    def sorter(self) -> TopologicalSorter[str]:
        """Return a fresh sorter, ready to hand out stages."""
        sorter = TopologicalSorter({name: stage.needs for name, stage in self.stages.items()})
        sorter.prepare()
        return sorter


def build_graph(stages: Iterable[StageSpec]) -> StageGraph:
    """Return the graph of stages.

    Raises:
        UsageError: there is none, two have one name, one needs what is not there, or they need each other in a circle.
    """
    defined = tuple(stages)
    by_name = {stage.name: stage for stage in defined}
    if not defined:
        raise UsageError("the pipeline has no stages", hint="define some under `pipeline:` in shipway.yaml")
    for first, second in shared_variables(stage.name for stage in defined):
        part = variable_part(second)
        raise UsageError(
            f"pipeline: stages {first!r} and {second!r} would share the variables SHIPWAY_STAGE_{part}_*",
            hint="rename one of them",
        )
    for stage in defined:
        _check(stage, by_name)
    needs = {stage.name: stage.needs for stage in defined}
    circle = find_circle(needs)
    if circle:
        raise UsageError(
            f"pipeline stages need each other in a circle: {' needs '.join(circle)}",
            hint="remove one of these from its stage's needs",
        )
    return StageGraph({name: by_name[name] for name in _order(needs)})


def _check(stage: StageSpec, by_name: Mapping[str, StageSpec]) -> None:
    if sum((bool(stage.run), stage.uses is not None, stage.entry is not None)) != 1:
        raise UsageError(f"pipeline.{stage.name}: give exactly one of run, uses, entry")
    for need in stage.needs:
        if need not in by_name:
            raise UsageError(
                f"pipeline.{stage.name}.needs: there is no stage {need!r}",
                hint=f"the pipeline has {', '.join(by_name)}",
            )


def _order(needs: Mapping[str, tuple[str, ...]]) -> list[str]:
    rank = {name: index for index, name in enumerate(needs)}
    sorter = TopologicalSorter(needs)
    sorter.prepare()
    order: list[str] = []
    while sorter.is_active():
        ready = sorted(sorter.get_ready(), key=rank.__getitem__)
        order += ready
        sorter.done(*ready)
    return order
