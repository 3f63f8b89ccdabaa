"""Jobs of GitLab CI.

Source: https://docs.gitlab.com/ci/yaml/
"""

import re
from collections.abc import Iterator
from typing import Any

from shipway.config.yaml_source import YamlFile, parse_yaml
from shipway.readiness.ci_model import MAIN_BRANCHES, Event, Job
from shipway.readiness.shell import Command, commands

_WORDS = {
    "stages",
    "variables",
    "default",
    "workflow",
    "include",
    "image",
    "services",
    "cache",
    "before_script",
    "after_script",
    "pages",
    "spec",
}
_MERGE = re.compile(r"""\$CI_PIPELINE_SOURCE\s*==\s*["']merge_request_event["']""")
_DEFAULT = re.compile(r"""\$CI_COMMIT_(?:BRANCH|REF_NAME)\s*==\s*(?:\$CI_DEFAULT_BRANCH|["'](\w+)["'])""")
_EVERY = frozenset(Event)


def gitlab_jobs(path: str, text: str) -> Iterator[Job]:
    """Yield the jobs of `.gitlab-ci.yml`.

    Raises:
        ConfigError: it is not YAML, or uses a tag such as !reference.
    """
    source = parse_yaml(text, path)
    data = source.data
    if "include" in data:
        yield Job(path, "include", _line(source, "include"), frozenset(), unclear=("includes other files",))
    rules = data.get("workflow")
    whole, _ = _events(rules) if isinstance(rules, dict) else (_EVERY, ())
    default = data.get("default")
    before = data.get("before_script") or (default.get("before_script") if isinstance(default, dict) else None)
    for name, body in data.items():
        if name in _WORDS or name.startswith(".") or not isinstance(body, dict):
            continue
        job = _extended(data, body, 0)
        held, unclear = _events(job)
        if job.get("allow_failure") not in {None, False} or job.get("when") in {"manual", "never", "on_failure"}:
            held = frozenset()
        found, unread = _commands(source, path, name, [job.get("before_script", before), job.get("script")])
        yield Job(path, name, _line(source, name), held & whole, tuple(found), (), (*unclear, *unread))


def _commands(
    source: YamlFile, path: str, name: str, scripts: list[Any]
) -> tuple[list[tuple[str, Command]], tuple[str, ...]]:
    lines: list[tuple[int, str]] = []
    for script in scripts:
        items = script if isinstance(script, list) else [script]
        for index, item in enumerate(items):
            if isinstance(item, str):
                place = source.places.get((name, "script", index))
                lines.append((place.line or 1 if place is not None else _line(source, name), item))
    found: list[tuple[str, Command]] = []
    unread = []
    for line, script in lines:
        try:
            own = commands(script, line)
        except ValueError as error:
            unread.append(f"a script of {name} is not read: {error}")
            continue
        found += [(f"{path}:{command.line}", command) for command in own]
    return found, tuple(unread)


def _extended(data: dict[str, Any], body: dict[str, Any], depth: int) -> dict[str, Any]:
    named = body.get("extends")
    parents = named if isinstance(named, list) else [named] if isinstance(named, str) else []
    merged: dict[str, Any] = {}
    for parent in parents:
        found = data.get(parent)
        if isinstance(found, dict) and depth < len(data):
            merged |= _extended(data, found, depth + 1)
    return merged | body


def _events(job: dict[str, Any]) -> tuple[frozenset[Event], tuple[str, ...]]:
    rules, only = job.get("rules"), job.get("only")
    if isinstance(rules, list):
        return _by_rules(rules)
    if only is None:
        # A push to a branch with an open merge request runs it too.
        return (_EVERY, ()) if "except" not in job else (frozenset(), ("has `except`, which is not read",))
    listed = only if isinstance(only, list) else only.get("refs", []) if isinstance(only, dict) else [only]
    found = set()
    if "merge_requests" in listed or "branches" in listed:
        found.add(Event.PULL_REQUEST)
    if MAIN_BRANCHES & set(map(str, listed)) or "branches" in listed:
        found.add(Event.MAIN)
    return frozenset(found), ()


def _by_rules(rules: list[Any]) -> tuple[frozenset[Event], tuple[str, ...]]:
    found: set[Event] = set()
    blocked: set[Event] = set()
    unclear = []
    for rule in rules:
        if not isinstance(rule, dict):
            unclear.append("has a rule that is not read")
            continue
        off = rule.get("when") in {"never", "manual"} or rule.get("allow_failure") is True
        if "changes" in rule or "exists" in rule:
            unclear.append("runs only for some files")
            continue
        condition = rule.get("if")
        if condition is None:
            found |= set() if off else set(_EVERY) - blocked
            break
        event = _event_of(str(condition))
        if event is None:
            unclear.append(f"has a rule that is not read: {condition}")
            if off:
                # It may switch off what a later rule switches on.
                return frozenset(found), tuple(unclear)
        elif off:
            blocked.add(event)
        elif event not in blocked:
            found.add(event)
    return frozenset(found), tuple(unclear)


def _event_of(condition: str) -> Event | None:
    text = condition.strip()
    if _MERGE.fullmatch(text):
        return Event.PULL_REQUEST
    found = _DEFAULT.fullmatch(text)
    if found is not None and (found[1] is None or found[1] in MAIN_BRANCHES):
        return Event.MAIN
    return None


def _line(source: YamlFile, name: str) -> int:
    place = source.places.get((name,))
    return place.line or 1 if place is not None else 1
