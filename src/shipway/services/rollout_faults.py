"""What is wrong with a project's rollout plan, each with file, line and key, and what it will not see.

`shipway config check` and `services/deployments.py` call this. `rollouts/plan_check.py` judges the plan that was made
of the user's keys; here its words are put where the user wrote them.
"""

import re
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

from shipway.config.loading import LoadedProject
from shipway.config.sections.rollout import RolloutPlan
from shipway.config.yaml_source import KeyPath
from shipway.core.errors import ConfigError, UsageError
from shipway.core.ports import KeyStore
from shipway.core.record import OF_GUARDS
from shipway.evals.contracts.source import read_source
from shipway.evals.smoke import parse_smoke
from shipway.evals.suggestions import did_you_mean
from shipway.registry.model import Release
from shipway.rollouts.calendar import window_problem
from shipway.rollouts.metrics import DEFAULT_METRICS
from shipway.rollouts.plan import EVENTS, Plan
from shipway.rollouts.plan_check import problems
from shipway.rollouts.rules import OFF
from shipway.services.project_lines import tried
from shipway.services.rollout_plans import SECTION, ChosenPlan, has_own_steps, plan_of, project_plan

_STEP = re.compile(r"steps\[(\d+)\]")
_STEP_WINDOW = re.compile(r"steps\[(\d+)\]\.windows\[")
_UNSAFE = "unsafe"
# Keys that not every strategy reads.
_READ_BY = {
    "bake_s": ("blue-green", "rolling", "shadow", "swap"),
    "keep_s": ("blue-green",),
    "batches": ("rolling",),
    "sample": ("shadow",),
    "min_pairs": ("shadow",),
}


def plan_problems(loaded: LoadedProject) -> list[str]:
    """Return what makes the plan of a project's `rollout` section impossible, as lines of its file."""
    chosen = project_plan(loaded)
    return [*_lines(chosen, plan_of(chosen.section), loaded.project.routes), *_smoke_faults(chosen, loaded.root)]


def require_possible(chosen: ChosenPlan, plan: Plan, release: Release, loaded: LoadedProject) -> None:
    """Check that a plan can run with a release of a project.

    Raises:
        ConfigError: with every problem: file, line, key and value.
    """
    routes = release.manifest["policy"]["routes"]
    lines = [*_lines(chosen, plan, routes), *_smoke_faults(chosen, loaded.root)]
    suite = loaded.project.evals.smoke
    if suite and not plan.smoke_file and any(step.smoke for step in plan.steps):
        lines += tried(loaded, ("evals", "smoke"), lambda: _parsed(loaded.root, suite))
    if plan.shadows and all(route["kind"] == "http" for route in routes.values()):
        no_route = "no route of this release can be copied to: a copy of a service's request may act twice"
        shadowed = [number for number, step in enumerate(chosen.section.steps or ()) if step.shadow]
        key = "strategy" if chosen.section.strategy == "shadow" or not shadowed else f"steps[{shadowed[0]}].shadow"
        lines.append(_line(chosen, _key_path(key), key, no_route))
    if lines:
        raise ConfigError(lines, hint="correct these lines; `shipway config schema` describes every key")


def plan_notes(chosen: ChosenPlan, plan: Plan, release: Release) -> list[str]:
    """Return what a strategy makes of a user's steps, and what smoke checks will not see."""
    section, notes = chosen.section, []
    if chosen.dropped_steps:
        told = f"`steps` were written for {chosen.dropped_steps} and do not count"
        notes.append(f"strategy {section.strategy}: {told}")
    if section.strategy == "shadow" and has_own_steps(section):
        notes.append("strategy shadow: step 1 is its step of copies (sample, min_pairs, bake_s); yours come after it")
    if section.strategy == "rolling" and has_own_steps(section):
        notes.append("strategy rolling: the steps are yours, so `batches` does not count and each waits as it says")
    if section.strategy in {"blue-green", "swap"} and has_own_steps(section) and "bake_s" in section.model_fields_set:
        notes.append(f"strategy {section.strategy}: the steps are yours, so `bake_s` does not count")
    notes += [
        f"strategy {section.strategy}: `{key}` does not count; it is for {', '.join(strategies)}"
        for key, strategies in _READ_BY.items()
        if key in section.model_fields_set and section.strategy not in strategies
    ]
    notes += _unrecorded(plan, section)
    services = [name for name, route in release.manifest["policy"]["routes"].items() if route["kind"] == "http"]
    if services and not plan.smoke_file and any(step.smoke for step in plan.steps):
        unseen = f"without smoke_file nothing is asked of {', '.join(services)}; only its health counts"
        notes.append(f"warning: smoke: {unseen}")
    return notes


def park_notes(loaded: LoadedProject, plan: Plan, release: Release) -> list[str]:
    """Return what callers get when an exchange in place may take longer than their requests wait."""
    starts = any(route.get("command") for route in release.manifest["policy"]["routes"].values())
    parked_s = loaded.project.server.park_s
    if not (plan.exclusive and starts and plan.start_timeout_s > parked_s):
        return []
    return [
        (
            f"warning: rollout.start_timeout_s = {plan.start_timeout_s:g} exceeds server.park_s = {parked_s:g}: nothing"
            f" serves while the candidate starts, and callers get 503 after {parked_s:g} s; raise park_s or lower"
            " start_timeout_s"
        )
    ]


async def segment_notes(loaded: LoadedProject, plan: Plan, keys: KeyStore) -> list[str]:
    """Return the tenants, groups and keys of a flag's segments that nobody has."""
    if not plan.segments:
        return []
    entries, tenants = await keys.list(), set(loaded.project.tenants)
    # Who has a token of another issuer is known only when he comes.
    has_strangers = bool(loaded.project.auth.issuers)
    groups = {group for entry in entries for group in entry.groups}
    known: list[tuple[str, set[str], bool]] = [
        ("tenants", tenants or {entry.tenant for entry in entries}, bool(tenants) or not has_strangers),
        ("groups", groups, not has_strangers),
        ("keys", {entry.key_id for entry in entries}, not has_strangers),
    ]
    return [
        f"warning: segments[{number}].{kind}: nobody is in {name!r}; {did_you_mean(name, names)}"
        for number, segment in enumerate(plan.segments)
        for kind, names, is_closed in known
        for name in getattr(segment, kind)
        if is_closed and name not in names
    ]


def _lines(chosen: ChosenPlan, plan: Plan, routes: Collection[str]) -> list[str]:
    """Return every problem once, as a line of the file that says it."""
    found = {_key_path(name): _line(chosen, _key_path(name), name, told) for name, told in _own(chosen.section)}
    for problem in problems(plan, routes=routes):
        name, _, told = problem.partition(": ")
        named = _named(chosen.section, plan, name)
        if named is None:
            continue
        key = _key_path(named)
        # What the user's own key is wrong about is not wrong again in what was made of it, nor in the list around it.
        if not any(known == key[: len(known)] or key == known[: len(key)] for known in found):
            found[(*key, told)] = _line(chosen, key, named, told)
    return list(found.values())


def _own(section: RolloutPlan) -> Iterator[tuple[str, str]]:
    """Yield what is wrong with keys that a plan does not keep: (key, why)."""
    for number, window in enumerate(section.windows):
        problem = window_problem(window)
        if problem:
            yield f"windows[{number}]", problem
    for key, named in _events(section):
        for number, event in enumerate(named):
            if event not in EVENTS and not _is_of_guards(event):
                meant = did_you_mean(event, (*EVENTS, _UNSAFE))
                yield f"{key}[{number}]", f"{event!r} is no event that can be counted; {meant}"
    known = [metric.name for metric in DEFAULT_METRICS]
    for name, change in section.metrics.items():
        if name in known:
            continue
        if change is None:
            yield f"metrics.{name}", f"there is no such metric to switch off; {did_you_mean(name, known)}"
        elif change.kind is None:
            yield f"metrics.{name}", f"a metric of your own needs a kind; {did_you_mean(name, known)}"


def _events(section: RolloutPlan) -> Iterator[tuple[str, Iterable[str]]]:
    """Yield every list of events that a user wrote, with its key."""
    yield "rules.safety_events", section.rules.safety_events or ()
    yield "events", section.events or ()
    for name, change in section.metrics.items():
        yield f"metrics.{name}.events", (change.events if change is not None else None) or ()


def _is_of_guards(event: str) -> bool:
    """Tell whether an event is a guard's: what their names begin with is settled."""
    return event == _UNSAFE or event.startswith(OF_GUARDS)


def _unrecorded(plan: Plan, section: RolloutPlan) -> Iterator[str]:
    """Yield the safety events that a user named and that no request can have."""
    named = section.rules.safety_events or ()
    for number, event in enumerate(named if plan.rules.safety.action != OFF else ()):
        if event not in EVENTS:
            yield (
                f"warning: rules.safety_events[{number}]: {event!r} is a guard's event, and this version has no guard,"
                " so the rule safety never sees it"
            )


def _named(section: RolloutPlan, plan: Plan, name: str) -> str | None:
    """Return the user's key for one of the plan; None where the user's own was looked at already."""
    found = _STEP.match(name)
    if found is None:
        return name
    number, own = int(found[1]), section.steps if has_own_steps(section) else ()
    # A strategy may have put steps of its own before the user's.
    place = number - (len(plan.steps) - len(own) if own else 0)
    if _STEP_WINDOW.match(name) and not (own and place >= 0 and own[place].windows):
        return None
    return name if place < 0 or not own else f"steps[{place}]{name[found.end() :]}"


def _smoke_faults(chosen: ChosenPlan, root: Path) -> Iterator[str]:
    """Yield what is wrong with the file of smoke checks, or in it."""
    file = chosen.section.smoke_file
    if not file:
        return
    try:
        _parsed(root, file)
    except OSError as error:
        why = "is not there; name a file of the project" if isinstance(error, FileNotFoundError) else error.strerror
        yield _line(chosen, ("smoke_file",), "smoke_file", f"{file!r} {why}")
    except UsageError as error:
        yield from error.message.splitlines()


def _parsed(root: Path, file: str) -> None:
    parse_smoke(read_source((root / file).read_bytes(), file))


def _line(chosen: ChosenPlan, key: KeyPath, name: str, told: str) -> str:
    return f"{chosen.place(key)}: {SECTION}.{name}: {told}"


def _key_path(name: str) -> KeyPath:
    """Return the key path of `steps[1].weight`."""
    parts = [part for part in re.split(r"[.\[\]]", name) if part]
    return tuple(int(part) if part.isdigit() else part for part in parts)
