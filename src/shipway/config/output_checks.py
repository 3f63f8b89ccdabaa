"""Which files stages make: none that is not theirs to make, and none that two make at the same time.

`pipeline_checks` asks. Two patterns overlap unless it can be proven that no path matches both.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from functools import lru_cache
from itertools import product
from pathlib import PurePosixPath

from shipway.config.sections.pipeline import Circumstances, Stage

Problem = tuple[tuple[str | int, ...], str]
Made = tuple[str, tuple[str | int, ...], str]
"""A stage, the key path of one of its patterns, and the pattern."""

PROJECT_FILES = ("shipway.yaml", "configs/*.yaml")
_WILD = "*?["
_ANY_FOLDERS = "**"


def output_problems(pipeline: Mapping[str, Stage]) -> Iterator[Problem]:
    """Yield which outputs may not be, each with its key path; stages whose needs are not there must be none."""
    made = [found for name, stage in pipeline.items() for found in _made(name, stage)]
    for _, path, pattern in made:
        covered = next((file for file in PROJECT_FILES if overlap(pattern, file)), "")
        if covered:
            yield path, f"{pattern!r} covers the settings of the project ({covered}), which no stage makes; name less"
    before: dict[str, frozenset[str]] = {}
    for (first, _, one), (second, path, other) in _close(made):
        if first == second or _never_together(pipeline[first].when, pipeline[second].when) or not overlap(one, other):
            continue
        if first in _before(second, pipeline, before) or second in _before(first, pipeline, before):
            continue
        both = f"{other!r}" if one == other else f"{other!r} and {one!r}, which can match the same files,"
        yield path, f"{both} would be made by {second!r} and {first!r} at the same time; let one need the other"


@lru_cache(maxsize=4096)
def overlap(one: str, other: str) -> bool:
    """Tell whether a path may match both patterns; what is in doubt may."""
    left, right = _segments(one), _segments(other)
    seen: set[tuple[int, int]] = set()
    waiting = [(0, 0)]
    while waiting:
        at = waiting.pop()
        if at in seen:
            continue
        seen.add(at)
        i, j = at
        ends = i == len(left), j == len(right)
        if all(ends):
            return True
        wild = not ends[0] and left[i] == _ANY_FOLDERS, not ends[1] and right[j] == _ANY_FOLDERS
        if wild[0]:
            waiting.append((i + 1, j))
        if wild[1]:
            waiting.append((i, j + 1))
        if not any(ends) and (any(wild) or _segment_overlap(left[i], right[j])):
            # What stands for any folders stays where it is while the other side goes on.
            waiting.append((i + (not wild[0]), j + (not wild[1])))
    return False


def _segments(pattern: str) -> tuple[str, ...]:
    """Return the parts of a pattern, with `**` where any number of folders may stand."""
    parts = [part for part in PurePosixPath(pattern).parts if part != "."]
    if not parts:
        return ("*", _ANY_FOLDERS)
    if parts[-1] == _ANY_FOLDERS:
        return (*parts[:-1], "*", _ANY_FOLDERS)
    # A path without wildcards at its end is a file, or all that is in a folder.
    return tuple(parts) if _is_wild(parts[-1]) else (*parts, _ANY_FOLDERS)


def _segment_overlap(one: str, other: str) -> bool:
    if not _is_wild(one):
        return fnmatchcase(one, other) if _is_wild(other) else one == other
    if not _is_wild(other):
        return fnmatchcase(other, one)
    # Of two patterns the fixed beginnings and the fixed ends are compared; what is between is taken for possible.
    starts = sorted((_start(one), _start(other)), key=len)
    ends = sorted((_start(one[::-1]), _start(other[::-1])), key=len)
    return starts[1].startswith(starts[0]) and ends[1].startswith(ends[0])


def _start(part: str) -> str:
    """Return what stands before the first sign, whether the part is read forwards or backwards."""
    return part[: next((index for index, sign in enumerate(part) if sign in "*?[]"), len(part))]


def _is_wild(part: str) -> bool:
    return any(sign in part for sign in _WILD)


def _made(name: str, stage: Stage) -> Iterator[Made]:
    for index, pattern in enumerate(stage.outputs):
        yield name, ("pipeline", name, "outputs", index), pattern
    if stage.metrics and stage.metrics not in stage.outputs:
        yield name, ("pipeline", name, "metrics"), stage.metrics
    if stage.report and stage.report not in stage.outputs:
        yield name, ("pipeline", name, "report"), stage.report


def _close(made: list[Made]) -> Iterator[tuple[Made, Made]]:
    """Yield the pairs whose fixed beginnings do not already tell them apart, in the order of definition."""
    by_folder: dict[tuple[str, ...], list[Made]] = defaultdict(list)
    below: dict[tuple[str, ...], list[Made]] = defaultdict(list)
    for found in made:
        fixed = _fixed(found[2])
        for depth in range(len(fixed)):
            yield from ((other, found) for other in by_folder.get(fixed[:depth], ()))
            below[fixed[:depth]].append(found)
        yield from ((other, found) for other in by_folder.get(fixed, ()))
        yield from ((other, found) for other in below.get(fixed, ()))
        by_folder[fixed].append(found)


def _fixed(pattern: str) -> tuple[str, ...]:
    parts = _segments(pattern)
    return parts[: next(index for index, part in enumerate((*parts, "*")) if _is_wild(part))]


def _before(name: str, pipeline: Mapping[str, Stage], known: dict[str, frozenset[str]]) -> frozenset[str]:
    """Return all that a stage needs, directly or not."""
    if name not in known:
        found: set[str] = set()
        waiting = list(pipeline[name].needs)
        while waiting:
            need = waiting.pop()
            if need not in found and need in pipeline:
                found.add(need)
                waiting += pipeline[need].needs
        known[name] = frozenset(found)
    return known[name]


def _never_together(one: Circumstances, other: Circumstances) -> bool:
    """Tell whether no run has both: each run has one event, and one branch."""
    events = bool(one.events and other.events) and not set(one.events) & set(other.events)
    branches = bool(one.branches and other.branches) and not any(
        _segment_overlap(left.replace("/", "\0"), right.replace("/", "\0"))
        for left, right in product(one.branches, other.branches)
    )
    return events or branches
