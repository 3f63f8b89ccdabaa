"""The order of stages: checked once, before anything runs. The CLI and the compilers to CI systems build graphs too."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter

from shipway.config.sections.pipeline import Stage
from shipway.core.errors import UsageError
from shipway.pipeline.model import StageSpec
from shipway.pipeline.visible import variable_part


@dataclass(frozen=True, slots=True)
class StageGraph:
    """Stages that can run, each after all it needs."""

    stages: Mapping[str, StageSpec]
    """In an order in which they could run one by one; among equals the order of definition."""

    def ancestors(self, name: str) -> tuple[str, ...]:
        """Return everything that a stage depends on, directly or not, in running order."""
        found: set[str] = set()
        waiting = list(self.stages[name].needs)
        while waiting:
            need = waiting.pop()
            if need not in found:
                found.add(need)
                waiting += self.stages[need].needs
        return tuple(stage for stage in self.stages if stage in found)

    def sorter(self) -> TopologicalSorter[str]:
        """Return a fresh sorter, ready to hand out stages."""
        sorter = TopologicalSorter({name: stage.needs for name, stage in self.stages.items()})
        sorter.prepare()
        return sorter


def configured_stages(section: Mapping[str, Stage]) -> tuple[StageSpec, ...]:
    """Return the stages of a project file's `pipeline` section."""
    return tuple(
        StageSpec(
            name=name,
            run=stage.run,
            uses=stage.uses,
            needs=stage.needs,
            timeout_s=stage.timeout_s,
            retries=stage.retries,
            allow_failure=stage.allow_failure,
            env=stage.env,
        )
        for name, stage in section.items()
    )


def build_graph(stages: Iterable[StageSpec]) -> StageGraph:
    """Return the graph of stages.

    Raises:
        UsageError: there is none, two have one name, one needs what is not there, or they need each other in a circle.
    """
    defined = tuple(stages)
    by_name = {stage.name: stage for stage in defined}
    if not defined:
        raise UsageError("the pipeline has no stages", hint="define some under `pipeline:` in shipway.yaml")
    _refuse_doubles(defined)
    for stage in defined:
        _check(stage, by_name)
    sorter = TopologicalSorter({stage.name: stage.needs for stage in defined})
    try:
        sorter.prepare()
    except CycleError as error:
        raise UsageError(
            f"pipeline stages need each other in a circle: {_circle(error.args[1], list(by_name))}",
            hint="remove one of these from its stage's needs",
        ) from None
    return StageGraph({name: by_name[name] for name in _order(sorter, list(by_name))})


def _check(stage: StageSpec, by_name: Mapping[str, StageSpec]) -> None:
    if bool(stage.run) == (stage.uses is not None):
        raise UsageError(f"pipeline.{stage.name}: give exactly one of run, uses")
    for need in stage.needs:
        if need not in by_name:
            raise UsageError(
                f"pipeline.{stage.name}.needs: there is no stage {need!r}",
                hint=f"the pipeline has {', '.join(by_name)}",
            )


def _refuse_doubles(stages: tuple[StageSpec, ...]) -> None:
    seen: dict[str, str] = {}
    for stage in stages:
        part = variable_part(stage.name)
        if part in seen:
            raise UsageError(
                f"pipeline: stages {seen[part]!r} and {stage.name!r} would share the variables SHIPWAY_STAGE_{part}_*",
                hint="rename one of them",
            )
        seen[part] = stage.name


def _circle(path: list[str], names: list[str]) -> str:
    # graphlib lists each node before the one that needs it, the first again at the end.
    needing = path[:0:-1]
    start = needing.index(min(needing, key=names.index))
    turned = [*needing[start:], *needing[:start]]
    return " needs ".join([*turned, turned[0]])


def _order(sorter: TopologicalSorter[str], names: list[str]) -> list[str]:
    order: list[str] = []
    while sorter.is_active():
        ready = sorted(sorter.get_ready(), key=names.index)
        order += ready
        sorter.done(*ready)
    return order
