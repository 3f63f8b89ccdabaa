"""Reads a GitHub workflow back, conditions by an interpreter of the expressions that GitHub documents."""

import re
import shlex
from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Any

import yaml
from tests.unit.pipeline.compile.reading import ReadFile, ReadJob

from shipway.pipeline.selection import Circumstance

_TOKEN = re.compile(r"\s*(?:(?P<text>'(?:[^']|'')*')|(?P<sign>\|\||&&|==|!=|[!(),])|(?P<name>[A-Za-z_][\w.-]*))")


class Expression:
    """An expression of a workflow; comparing and searching ignore case, as GitHub does."""

    def __init__(self, text: str, known: Mapping[str, Any]) -> None:
        self.tokens = self._read(text)
        self.known = known

    def _read(self, text: str) -> list[str]:
        found, place = [], 0
        while place < len(text.rstrip()):
            match = _TOKEN.match(text, place)
            assert match, f"{text[place:]!r} is no expression"
            found.append(match[0].strip())
            place = match.end()
        return found

    def value(self) -> Any:
        found = self._or()
        assert not self.tokens, self.tokens
        return found

    def _take(self, *signs: str) -> bool:
        if self.tokens and self.tokens[0] in signs:
            self.tokens.pop(0)
            return True
        return False

    def _or(self) -> Any:
        found = self._and()
        while self._take("||"):
            other = self._and()
            found = found or other
        return found

    def _and(self) -> Any:
        found = self._equal()
        while self._take("&&"):
            other = self._equal()
            found = found and other
        return found

    def _equal(self) -> Any:
        found = self._single()
        if self._take("=="):
            return str(found).lower() == str(self._single()).lower()
        if self._take("!="):
            return str(found).lower() != str(self._single()).lower()
        return found

    def _single(self) -> Any:
        if self._take("!"):
            return not self._single()
        if self._take("("):
            found = self._or()
            assert self._take(")")
            return found
        word = self.tokens.pop(0)
        if word.startswith("'"):
            return word[1:-1].replace("''", "'")
        if self._take("("):
            return self._call(word)
        return word == "true" if word in ("true", "false") else self.known.get(word, "")

    def _call(self, name: str) -> Any:
        given = []
        while not self._take(")"):
            given.append(str(self._or()).lower())
            self._take(",")
        match name:
            case "contains":
                return given[1] in given[0]
            case "startsWith":
                return given[0].startswith(given[1])
            case "endsWith":
                return given[0].endswith(given[1])
        assert (name in ("failure", "cancelled"), given) == (True, [])
        return self.known.get(f"{name}()", False)


def read_github(text: str) -> ReadFile:
    document = yaml.load(text, yaml.CSafeLoader)
    jobs = dict(document["jobs"])
    changes = jobs.pop("shipway-changes", None)
    assert document["permissions"] == {}
    return ReadFile(
        {name: _job(job, changes) for name, job in jobs.items()},
        lambda found: _starts(document["on"], found),
        document["on"].get("schedule", [{}])[0].get("cron"),
    )


def _starts(on: Mapping[str, Any], found: Circumstance) -> bool:
    if found.event == "push":
        # GitHub's `**` is what `*` is elsewhere.
        return any(fnmatchcase(found.branch, pattern.replace("**", "*")) for pattern in on["push"]["branches"])
    if found.event == "tag":
        return on["push"].get("tags") == ["**"]
    if found.event == "model_update":
        return "model_update" in on["workflow_dispatch"]["inputs"]["event"]["options"]
    return {"manual": "workflow_dispatch"}.get(found.event, found.event) in on


def _known(found: Circumstance) -> dict[str, Any]:
    named = {"tag": "push", "manual": "workflow_dispatch", "model_update": "workflow_dispatch"}
    return {
        "github.event_name": named.get(found.event, found.event),
        "github.ref_type": "tag" if found.event == "tag" else "branch",
        "github.head_ref": found.branch if found.event == "pull_request" else "",
        # A tag may have a branch's name.
        "github.ref_name": "7/merge" if found.event == "pull_request" else found.branch or "main",
        "github.repository": "org/app",
        "github.event.pull_request.head.repo.full_name": "org/app" if found.event == "pull_request" else "",
        "inputs.event": found.event if found.event in ("manual", "model_update") else "",
    }


def _job(job: Mapping[str, Any], changes: Mapping[str, Any] | None) -> ReadJob:
    def runs(found: Circumstance) -> bool:
        known = _known(found)
        if changes is not None:
            compared = _holds(changes["if"], known)
            known["needs.shipway-changes.result"] = "success" if compared else "skipped"
            known["needs.shipway-changes.outputs.parts"] = ",".join(found.changed or ()) if compared else ""
        return _holds(job.get("if", "${{ true }}"), known)

    steps = job["steps"]
    run = next(step for step in steps if step.get("name") == "Run")
    kept = next(step for step in steps if step.get("name") == "Keep")["with"]
    fetched = [step["with"]["pattern"] for step in steps if "download-artifact" in step.get("uses", "")]
    for step in steps:
        assert re.fullmatch(r"[\w/-]+@[0-9a-f]{40}", step.get("uses", "a/b@" + "0" * 40))
    argv = shlex.split(run["run"].replace('"$SHIPWAY_JOB_SHARD/', '"SHARD/'))
    runner = job["runs-on"]
    return ReadJob(
        needs=frozenset(job.get("needs", ())) - {"shipway-changes"},
        argv=tuple(argv),
        limit_min=job["timeout-minutes"],
        allow_failure=job.get("continue-on-error", False),
        environment=job.get("environment", {}).get("name", ""),
        approval=False,
        concurrency=job.get("concurrency", {}).get("group", ""),
        shards=len(job.get("strategy", {"matrix": {"shard": [1]}})["matrix"]["shard"]),
        image=job.get("container", {}).get("image", ""),
        labels=tuple(runner[1:]) if isinstance(runner, list) else (),
        identity=job["permissions"].get("id-token") == "write",
        variables=frozenset(run.get("env", {})) - {"SHIPWAY_JOB_SHARD"},
        keeps=tuple(kept["path"].splitlines()),
        fetches=frozenset(name.split(".")[1] for name in fetched),
        runs=runs,
    )


def _holds(condition: str, known: Mapping[str, Any]) -> bool:
    match = re.fullmatch(r"\$\{\{ (.*) \}\}", condition)
    assert match
    return bool(Expression(match[1], known).value())
