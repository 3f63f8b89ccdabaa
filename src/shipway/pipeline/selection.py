"""Which stages of a pipeline a run has: what was asked for, and what the circumstances leave out. The CLI asks."""

from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase

from shipway.core.errors import UsageError
from shipway.pipeline.graph import StageGraph
from shipway.pipeline.spec import StageSpec


@dataclass(frozen=True, slots=True)
class Circumstance:
    """What started a run, and on what."""

    event: str = "manual"
    branch: str = ""
    """Empty when nobody knows it; stages of certain branches are left out then."""
    changed: tuple[str, ...] | None = None
    """None when nobody knows; every part may have changed then."""
    tier: str = ""
    """Empty for every tier."""


@dataclass(frozen=True, slots=True)
class Asked:
    """The part of a pipeline that was asked for: at most one of these, or nothing for all of it."""

    only: str = ""
    start: str = ""
    """This stage and all that need it."""
    until: str = ""
    """This stage and all that it needs."""


@dataclass(frozen=True, slots=True)
class Selection:
    """The stages of a run: those that run, those left out with the reason, those whose earlier result is taken."""

    chosen: tuple[str, ...]
    left_out: Mapping[str, str]
    earlier: tuple[str, ...]


def select(graph: StageGraph, asked: Asked, circumstance: Circumstance) -> Selection:
    """Return the stages of a run.

    Raises:
        UsageError: more than one part was asked for, or a stage that is not there.
    """
    wanted = _wanted(graph, asked)
    left_out: dict[str, str] = {}
    for name, stage in graph.stages.items():
        reason = why_not(stage, circumstance) if name in wanted else "not asked for"
        if reason:
            left_out[name] = reason
    chosen = tuple(name for name in graph.stages if name not in left_out)
    if len(wanted) == len(graph.stages):
        return Selection(chosen, left_out, ())
    # What a chosen stage builds on and is not run now must come from an earlier run.
    below = {need for name in chosen for need in graph.ancestors(name)}
    earlier = tuple(name for name in graph.stages if name in below and name not in wanted)
    earlier = tuple(name for name in earlier if not why_not(graph.stages[name], circumstance))
    return Selection(chosen, {name: said for name, said in left_out.items() if name not in earlier}, earlier)


def why_not(stage: StageSpec, circumstance: Circumstance) -> str:
    """Return why the circumstances leave a stage out, empty when they do not."""
    when, found = stage.when, circumstance
    if when.events and found.event not in when.events:
        return f"runs on {_any_of(when.events)}, and this is {found.event}"
    if when.branches and not _matches(found.branch, when.branches):
        return f"runs on branch {_any_of(when.branches)}, and this is {found.branch or 'none that is known'}"
    if when.changed and found.changed is not None and not set(when.changed) & set(found.changed):
        return f"runs when {_any_of(when.changed)} changed, and {_any_of(found.changed) or 'nothing'} did"
    if when.tiers and found.tier and found.tier not in when.tiers:
        return f"belongs to tier {_any_of(when.tiers)}, and this is {found.tier}"
    return ""


def _wanted(graph: StageGraph, asked: Asked) -> set[str]:
    named = {f"--{word}": name for word, name in zip(("only", "from", "until"), _parts(asked), strict=True) if name}
    if len(named) > 1:
        raise UsageError(f"{' and '.join(named)} contradict each other", hint="give one of them")
    for option, name in named.items():
        if name not in graph.stages:
            raise UsageError(
                f"{option}: there is no stage {name!r}", hint=f"the pipeline has {', '.join(graph.stages)}"
            )
    if asked.only:
        return {asked.only}
    if asked.until:
        return {asked.until, *graph.ancestors(asked.until)}
    if asked.start:
        return {name for name in graph.stages if name == asked.start or asked.start in graph.ancestors(name)}
    return set(graph.stages)


def _parts(asked: Asked) -> tuple[str, str, str]:
    return asked.only, asked.start, asked.until


def _matches(branch: str, patterns: tuple[str, ...]) -> bool:
    return bool(branch) and any(fnmatchcase(branch, pattern) for pattern in patterns)


def _any_of(words: tuple[str, ...]) -> str:
    return " or ".join(words)
