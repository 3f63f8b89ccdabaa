"""Whether the stages of a pipeline can be ordered: what they need exists and nothing needs itself. `project` asks.

Also whether files that stages make are theirs to make (`output_checks`).
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from graphlib import CycleError, TopologicalSorter

from shipway.config.output_checks import output_problems
from shipway.config.sections.pipeline import Stage

Problem = tuple[tuple[str | int, ...], str]
_NOT_IN_A_NAME = re.compile(r"[^A-Z0-9]")


def stage_problems(pipeline: Mapping[str, Stage]) -> Iterator[Problem]:
    """Yield what is wrong between stages, each with its key path."""
    whole = True
    for name, stage in pipeline.items():
        for index, need in enumerate(stage.needs):
            if need not in pipeline:
                whole = False
                yield ("pipeline", name, "needs", index), f"{need!r} is not in pipeline (it has {', '.join(pipeline)})"
    for first, second in shared_variables(pipeline):
        what = f"{first!r} and {second!r} would share the variables SHIPWAY_STAGE_{variable_part(second)}_*"
        yield ("pipeline", second), f"{what}; rename one of them"
    circle = find_circle({name: stage.needs for name, stage in pipeline.items()}) if whole else []
    if circle:
        said = " needs ".join(circle)
        yield (
            ("pipeline", circle[0], "needs"),
            f"stages need each other in a circle: {said}; remove one of these needs",
        )
    yield from output_problems(pipeline)


def find_circle(needs: Mapping[str, Sequence[str]]) -> list[str]:
    """Return stages each of which needs the next, the first again at the end; empty where there is no circle."""
    sorter = TopologicalSorter(needs)
    try:
        sorter.prepare()
    except CycleError as error:
        # graphlib lists each node before the one that needs it, the first again at the end.
        names = list(needs)
        needing = error.args[1][:0:-1]
        start = needing.index(min(needing, key=names.index))
        turned = [*needing[start:], *needing[:start]]
        return [*turned, turned[0]]
    return []


def shared_variables(names: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Yield pairs of stages whose results would be the same variables."""
    seen: dict[str, str] = {}
    for name in names:
        part = variable_part(name)
        if part in seen:
            yield seen[part], name
        seen.setdefault(part, name)


def variable_part(name: str) -> str:
    """Return a name as a part of a variable's name: `unit-tests` is `UNIT_TESTS`."""
    return _NOT_IN_A_NAME.sub("_", name.upper())
