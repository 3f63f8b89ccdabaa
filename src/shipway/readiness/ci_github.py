"""Jobs of GitHub Actions.

Source: https://docs.github.com/en/actions/reference/workflows-and-actions/workflow-syntax
"""

import re
from collections.abc import Iterator
from typing import Any

from shipway.config.yaml_source import KeyPath, YamlFile, parse_yaml
from shipway.readiness.ci_model import MAIN_BRANCHES, Event, Job
from shipway.readiness.shell import Command, commands

_ATOMS = {
    Event.PULL_REQUEST: {
        "github.event_name=='pull_request'": True,
        "github.event_name!='pull_request'": False,
        "github.event_name=='push'": False,
        "github.event_name!='push'": True,
    },
    Event.MAIN: {
        "github.event_name=='push'": True,
        "github.event_name!='push'": False,
        "github.event_name=='pull_request'": False,
        "github.event_name!='pull_request'": True,
    },
}
_ALWAYS = {"always()", "success()", "true", "!cancelled()"}
_REF = re.compile(r"github\.ref(?:_name)?=='(?:refs/heads/)?([\w/-]+)'")


def github_jobs(path: str, text: str) -> Iterator[Job]:
    """Yield the jobs of a workflow.

    Raises:
        ConfigError: it is not YAML.
    """
    source = parse_yaml(text, path)
    events = _events(source.data.get("on"))
    listed = source.data.get("jobs")
    for name, body in (listed if isinstance(listed, dict) else {}).items():
        if isinstance(body, dict):
            yield _job(source, path, name, body, events)


def _job(source: YamlFile, path: str, name: str, body: dict[str, Any], events: frozenset[Event]) -> Job:
    at: KeyPath = ("jobs", name)
    unclear: list[str] = []
    held, doubt = _allowed(body.get("if"), events)
    if doubt:
        unclear.append(f"job {name} runs only if {body.get('if')}")
    if isinstance(body.get("uses"), str):
        unclear.append(f"job {name} is written in {body['uses']}")
    if body.get("continue-on-error") not in {None, False}:
        held = frozenset()
    reader = _Steps(source, path, name, held, unclear)
    folder = _folder(body.get("defaults")) or _folder(source.data.get("defaults"))
    steps = body.get("steps")
    for index, step in enumerate(steps if isinstance(steps, list) else []):
        if isinstance(step, dict) and step.get("continue-on-error") in {None, False}:
            reader.read(index, {"working-directory": folder, **step})
    return Job(path, name, _line(source, at), held, tuple(reader.commands), tuple(reader.actions), tuple(unclear))


def _folder(defaults: Any) -> Any:
    run = defaults.get("run") if isinstance(defaults, dict) else None
    return run.get("working-directory") if isinstance(run, dict) else None


class _Steps:
    def __init__(self, source: YamlFile, path: str, job: str, events: frozenset[Event], unclear: list[str]) -> None:
        self._source, self._path, self._job, self._events = source, path, job, events
        self._unclear = unclear
        self.commands: list[tuple[str, Command]] = []
        self.actions: list[tuple[str, str]] = []

    def read(self, index: int, step: dict[str, Any]) -> None:
        kept, doubt = _allowed(step.get("if"), self._events)
        if kept != self._events or doubt:
            if self._events:
                self._unclear.append(f"a step of {self._job} runs only if {step.get('if')}")
            return
        at: KeyPath = ("jobs", self._job, "steps", index)
        uses = step.get("uses")
        if isinstance(uses, str):
            self.actions.append((f"{self._path}:{_line(self._source, at)}", uses.split("@")[0]))
            if uses.startswith("./"):
                self._unclear.append(f"job {self._job} uses {uses}")
        folder = str(step.get("working-directory") or ".").removeprefix("./")
        if isinstance(step.get("run"), str) and folder not in {"", "."}:
            self._unclear.append(f"a step of {self._job} runs in the folder {folder}, which is not followed")
        elif isinstance(step.get("run"), str):
            self.commands += _commands(self._source, (*at, "run"), step, self._path, self._unclear)


def _commands(
    source: YamlFile, at: KeyPath, step: dict[str, Any], path: str, unclear: list[str]
) -> Iterator[tuple[str, Command]]:
    shell = step.get("shell")
    if shell not in {None, "bash", "sh"}:
        unclear.append(f"a step runs in {shell}")
        return
    script, line = step["run"], _line(source, at)
    # A block begins on the line after its key.
    first = line + 1 if "\n" in script else line
    text = f"set -o pipefail\n{script}" if shell == "bash" else script
    try:
        found = commands(text, first - (shell == "bash"))
    except ValueError as error:
        unclear.append(f"a script in line {line} is not read: {error}")
        return
    yield from ((f"{path}:{command.line}", command) for command in found)


def _events(on: Any) -> frozenset[Event]:
    if isinstance(on, str):
        named: dict[str, Any] = {on: None}
    elif isinstance(on, list):
        named = {str(item): None for item in on}
    else:
        named = on if isinstance(on, dict) else {}
    found = set()
    if "pull_request" in named and _reaches(named["pull_request"]):
        found.add(Event.PULL_REQUEST)
    if "push" in named and _reaches(named["push"], pushed=True):
        found.add(Event.MAIN)
    return frozenset(found)


def _reaches(rule: Any, *, pushed: bool = False) -> bool:
    """Tell whether a trigger reaches the main branch for all files."""
    if rule is None:
        return True
    if not isinstance(rule, dict) or "paths" in rule or (pushed and "tags" in rule and "branches" not in rule):
        return False
    if any(not str(path).endswith(".md") for path in _listed(rule.get("paths-ignore"))):
        return False
    types = rule.get("types")
    is_current = types is None or bool({"opened", "synchronize"} & set(_listed(types)))
    main = {*MAIN_BRANCHES, "**", "*"}
    is_named = "branches" not in rule or bool(main & set(_listed(rule["branches"])))
    return is_current and is_named and not main & set(_listed(rule.get("branches-ignore")))


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [] if value is None else [value]


def _allowed(condition: Any, events: frozenset[Event]) -> tuple[frozenset[Event], bool]:
    """Return the events at which a condition surely holds, and whether it could not be read for one of them."""
    if condition is None or condition is True:
        return events, False
    if condition is False:
        return frozenset(), False
    text = re.sub(r"\s+", "", str(condition).strip().removeprefix("${{").removesuffix("}}")).replace('"', "'")
    kept, doubt = set(), False
    for event in events:
        values = [_atom(part, event) for part in text.split("&&")]
        if all(value is True for value in values):
            kept.add(event)
        elif not any(value is False for value in values):
            doubt = True
    return frozenset(kept), doubt


def _atom(text: str, event: Event) -> bool | None:
    if text in _ALWAYS:
        return True
    if text == "false":
        return False
    known = _ATOMS[event].get(text)
    if known is not None:
        return known
    ref = _REF.fullmatch(text)
    if ref is None:
        return None
    return event is Event.MAIN and ref[1] in MAIN_BRANCHES


def _line(source: YamlFile, path: KeyPath) -> int:
    while path:
        place = source.places.get(path)
        if place is not None and place.line is not None:
            return place.line
        path = path[:-1]
    return 1
