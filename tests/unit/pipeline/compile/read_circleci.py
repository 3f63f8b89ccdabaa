"""Reads a CircleCI configuration back, workflows by an interpreter of the logic that CircleCI documents."""

import re
import shlex
from collections.abc import Mapping
from typing import Any

import yaml
from tests.unit.pipeline.compile.reading import ReadFile, ReadJob

from shipway.pipeline.selection import Circumstance

_SOURCES = {"schedule": "scheduled_pipeline", "manual": "api", "model_update": "api"}


def read_circleci(text: str) -> ReadFile:
    document = yaml.load(text, yaml.CSafeLoader)
    assert document["version"] == 2.1
    workflows = list(document["workflows"].values())
    jobs = {name: _job(name, job, workflows) for name, job in document["jobs"].items()}
    return ReadFile(jobs, lambda _found: True, order=lambda found: _order(document, found))


def running(workflow: Mapping[str, Any], found: Circumstance) -> bool:
    """Whether a circumstance starts a workflow."""
    values = {
        "<< pipeline.trigger_source >>": _SOURCES.get(found.event, "webhook"),
        "<< pipeline.git.tag >>": "v1" if found.event == "tag" else "",
        "<< pipeline.git.branch >>": found.branch,
        "<< pipeline.parameters.event >>": "model_update" if found.event == "model_update" else "manual",
    }
    return _true(workflow["when"], values)


def _true(said: Mapping[str, Any], values: Mapping[str, str]) -> bool:
    [(word, given)] = said.items()
    match word:
        case "and":
            return all(_true(item, values) for item in given)
        case "not":
            return not _true(given, values)
        case "equal":
            return len({values.get(item, item) for item in given}) == 1
    assert word == "matches"
    return re.search(given["pattern"], values[given["value"]]) is not None


def entries(workflow: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    return {name: entry for item in workflow["jobs"] for name, entry in item.items()}


def _job(name: str, job: Mapping[str, Any], workflows: list[dict[str, Any]]) -> ReadJob:
    def runs(found: Circumstance) -> bool:
        started = [workflow for workflow in workflows if running(workflow, found)]
        # One circumstance starts one workflow, and a tag only jobs that ask for tags.
        assert len(started) <= 1
        return any(
            name in entries(item) and (found.event != "tag" or "filters" in entries(item)[name]) for item in started
        )

    own = [entries(workflow)[name] for workflow in workflows if name in entries(workflow)]
    gated = [f"approve-{name}" in entry.get("requires", ()) for entry in own]
    assert len(set(gated)) == 1
    steps = {next(iter(step)): step for step in job["steps"] if isinstance(step, dict)}
    run = steps["run"]["run"]
    lines = run["command"].splitlines()
    line = next(line for line in lines if "run-stage" in line).removesuffix(' || code="$?"')
    return ReadJob(
        needs=frozenset(need for entry in own for need in entry.get("requires", ())) - {f"approve-{name}"},
        argv=tuple(shlex.split(line.replace('"$part/', '"SHARD/'))),
        limit_min=int(run["no_output_timeout"].removesuffix("m")),
        allow_failure='if [ "$code" -ne 2 ]; then code=0; fi' in lines,
        environment=next(iter(own[0].get("context", [""]))),
        approval=gated == [True] * len(gated),
        concurrency=own[0].get("serial-group", "/").split("/", 1)[1],
        shards=job.get("parallelism", 1),
        image=job["docker"][0]["image"] if "docker" in job else "",
        labels=(job["resource_class"],) if "machine" in job else (),
        identity=any(line.startswith("export SHIPWAY_ID_TOKEN=") for line in lines),
        variables=frozenset(),
        keeps=tuple(steps["persist_to_workspace"]["persist_to_workspace"]["paths"]),
        fetches=frozenset({"*"} if "attach_workspace" in steps else ()),
        runs=runs,
    )


def _order(document: Mapping[str, Any], found: Circumstance) -> dict[str, set[str]]:
    """Return for each job that a circumstance starts all jobs that it waits for."""
    waits: dict[str, set[str]] = {}
    for workflow in document["workflows"].values():
        if running(workflow, found):
            for name, entry in entries(workflow).items():
                required = set(entry.get("requires", ()))
                waits[name] = required.union(*(waits[need] for need in required))
    return {name: waited & set(document["jobs"]) for name, waited in waits.items() if name in document["jobs"]}
