"""Reads manifests of Argo Workflows back, conditions by an interpreter of the expressions that Argo documents."""

import re
import shlex
from collections.abc import Mapping
from typing import Any

import yaml
from tests.unit.pipeline.compile.reading import ReadFile, ReadJob

from shipway.pipeline.selection import Circumstance

_TERM = re.compile(
    r"workflow\.parameters\.(?P<name>\w+) (?P<sign>==|!=|in|contains|matches) (?:'(?P<text>.*)'|\[(?P<list>[^\]]*)\])"
)


def read_argo(text: str) -> ReadFile:
    template, *more = yaml.load_all(text, yaml.CSafeLoader)
    spec = template["spec"]
    assert (spec["automountServiceAccountToken"], spec["templates"][0]["dag"]["failFast"]) == (False, False)
    tasks = {task["name"]: task for task in spec["templates"][0]["dag"]["tasks"]}
    containers = {item["name"]: item for item in spec["templates"] if "container" in item}
    events = next(item["enum"] for item in spec["arguments"]["parameters"] if item["name"] == "event")
    stages = {name: _stage(item) for name, item in containers.items()}
    owners = {task: stages.get(item["template"], "") for task, item in tasks.items()}
    owners |= {f"approve-{name}": stage for name, stage in stages.items()}
    jobs = {
        stage: _job(containers[name], [task for task in tasks.values() if task["template"] == name], tasks, owners)
        for name, stage in stages.items()
    }
    schedules = [item["spec"]["schedules"][0] for item in more]
    # Whoever submits it decides on which pushes.
    return ReadFile(jobs, lambda found: found.event in events, *schedules)


def _stage(container: Mapping[str, Any]) -> str:
    return shlex.split(_run_line(container))[3]


def _run_line(container: Mapping[str, Any]) -> str:
    lines = container["container"]["args"][0].splitlines()
    line: str = next(line for line in lines if "run-stage" in line)
    return line.removesuffix(' || code="$?"').replace('"$SHIPWAY_JOB_SHARD/', '"SHARD/')


def _holds(when: str, found: Circumstance) -> bool:
    match = re.fullmatch(r"\{\{= (.*) \}\}", when)
    assert match
    given = {
        "event": found.event,
        "branch": found.branch,
        "changed": "unknown" if found.changed is None else ",".join(found.changed),
    }
    return all(
        any(_term(term, given) for term in group.removeprefix("(").removesuffix(")").split(" || "))
        if group.startswith("(")
        else _term(group, given)
        for group in match[1].split(" && ")
    )


def _term(term: str, given: Mapping[str, str]) -> bool:
    match = _TERM.fullmatch(term)
    assert match, term
    value, text = given[match["name"]], (match["text"] or "").replace("\\\\", "\\")
    match match["sign"]:
        case "in":
            return value in [item.strip("' ") for item in match["list"].split(",")]
        case "contains":
            return text in value
        case "matches":
            return re.search(text, value) is not None
        case sign:
            return (value == text) is (sign == "==")


def _job(
    container: Mapping[str, Any],
    tasks: list[dict[str, Any]],
    known: Mapping[str, dict[str, Any]],
    owners: Mapping[str, str],
) -> ReadJob:
    needed = re.findall(r"\(([\w-]+)\.Succeeded \|\| \1\.Skipped\)", tasks[0].get("depends", ""))
    before = [name for name in needed if name != f"approve-{container['name']}"]
    if before != needed:
        gate = known[f"approve-{container['name']}"]
        assert (gate["template"], gate.get("when")) == ("approval", tasks[0].get("when"))
        assert re.findall(r"\(([\w-]+)\.Succeeded", gate.get("depends", "")) == before
    main = container["container"]
    lines = main["args"][0].splitlines()
    kept = next(line for line in lines if line.startswith("for kept in "))
    wanted = main["resources"].get("limits", {}).get("nvidia.com/gpu", "0")
    product = container.get("nodeSelector", {}).get("nvidia.com/gpu.product", "")
    artifacts = tasks[0].get("arguments", {}).get("artifacts", ())
    return ReadJob(
        needs=frozenset(owners[name] for name in before),
        argv=tuple(shlex.split(_run_line(container))),
        limit_min=container["activeDeadlineSeconds"],
        allow_failure=lines[-2] == 'if [ "$code" -ne 2 ]; then code=0; fi',
        environment=container.get("metadata", {}).get("annotations", {}).get("shipway-environment", ""),
        approval=before != needed,
        concurrency=container.get("synchronization", {"mutexes": [{"name": ""}]})["mutexes"][0]["name"],
        shards=len(tasks),
        image=main["image"],
        labels=(wanted, product),
        identity="volumes" in container,
        variables=frozenset(item["name"] for item in main.get("env", ())) - {"SHIPWAY_JOB_SHARD"},
        keeps=tuple(shlex.split(kept.removeprefix("for kept in ").removesuffix("; do"))),
        fetches=frozenset(owners[item["name"]] for item in artifacts),
        runs=lambda found: "when" not in tasks[0] or _holds(tasks[0]["when"], found),
    )
