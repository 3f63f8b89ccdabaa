"""What the tests read back from a compiled file, whatever the CI system, and what the definition says of the same."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from shipway.config.sections.ci import Ci
from shipway.pipeline.graph import StageGraph
from shipway.pipeline.selection import Circumstance, why_not

PARTS = {part: (f"{part}/**",) for part in ("code", "prompt", "model", "data", "policy")}


@dataclass(frozen=True)
class ReadJob:
    """One job as its file says it; `runs` answers whether a circumstance starts it."""

    needs: frozenset[str]
    argv: tuple[str, ...]
    limit_min: int
    allow_failure: bool
    environment: str
    approval: bool
    concurrency: str
    shards: int
    image: str
    labels: tuple[str, ...]
    identity: bool
    variables: frozenset[str]
    keeps: tuple[str, ...]
    fetches: frozenset[str]
    runs: Callable[[Circumstance], bool] = field(compare=False)


@dataclass(frozen=True)
class ReadFile:
    jobs: Mapping[str, ReadJob]
    starts: Callable[[Circumstance], bool]
    schedule: str | None = None
    order: Callable[[Circumstance], Mapping[str, set[str]]] | None = None
    """For each job that a circumstance starts what it waits for, where that depends on the circumstance."""


def started(graph: StageGraph, ci: Ci, found: Circumstance) -> bool:
    """Whether the definition has a CI system start the pipeline: pushes of named branches, and every other event."""
    patterns = [
        *ci.branches,
        *(p for s in graph.stages.values() for p in _push_patterns(s.when.events, s.when.branches)),
    ]
    return found.event != "push" or any(fnmatchcase(found.branch, pattern) for pattern in patterns)


def _push_patterns(events: tuple[str, ...], branches: tuple[str, ...]) -> tuple[str, ...]:
    return branches if not events or "push" in events else ()


def planned(graph: StageGraph, ci: Ci, found: Circumstance) -> set[str]:
    """The stages that the local runner would run."""
    tier = {str(event): tier for event, tier in ci.tiers.items()}.get(found.event, "")
    asked = Circumstance(found.event, found.branch, found.changed, tier)
    return {name for name, stage in graph.stages.items() if not why_not(stage, asked)}
