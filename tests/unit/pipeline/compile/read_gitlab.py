"""Reads a GitLab configuration back, rules by an interpreter of the conditions that GitLab documents."""

import re
import shlex
from collections.abc import Mapping
from typing import Any

import yaml
from tests.unit.pipeline.compile.reading import ReadFile, ReadJob

from shipway.pipeline.patterns import matches_any
from shipway.pipeline.selection import Circumstance

_TERM = re.compile(r'(\$\w+)(?: (==|!=) (?:"([^"]*)"|(\$\w+))| =~ /(.*)/)?')
_SOURCES = {"pull_request": "merge_request_event", "tag": "push", "manual": "web", "model_update": "api"}


def read_gitlab(text: str) -> ReadFile:
    document = yaml.load(text, yaml.CSafeLoader)
    rules = document.pop("workflow")["rules"]
    assert document.pop("stages") == ["shipway"]
    return ReadFile(
        {name: _job(job) for name, job in document.items()}, lambda found: any(_holds(rule, found) for rule in rules)
    )


def _variables(found: Circumstance) -> dict[str, str]:
    variables = {"$CI_PIPELINE_SOURCE": _SOURCES.get(found.event, found.event)}
    if found.event == "pull_request":
        variables["$CI_MERGE_REQUEST_SOURCE_BRANCH_NAME"] = found.branch
        variables |= {f"$CI_MERGE_REQUEST_{which}PROJECT_ID": "7" for which in ("", "SOURCE_")}
    elif found.event == "tag":
        variables["$CI_COMMIT_TAG"] = "v1"
    else:
        variables["$CI_COMMIT_BRANCH"] = found.branch
    if found.event == "model_update":
        variables["$SHIPWAY_EVENT"] = "model_update"
    return variables


def _holds(rule: Mapping[str, Any], found: Circumstance) -> bool:
    variables = _variables(found)
    for term in rule.get("if", "$CI_PIPELINE_SOURCE").split(" && "):
        match = _TERM.fullmatch(term)
        assert match, term
        name, sign, text, other, expression = match.groups()
        text = variables.get(other, "") if other else text
        value = variables.get(name, "")
        if sign is None and expression is None:
            true = bool(value)
        elif expression is not None:
            true = re.search(expression, value) is not None
        else:
            true = (value == text) is (sign == "==")
        if not true:
            return False
    if "changes" in rule and found.changed is not None:
        return any(matches_any(f"{part}/file", rule["changes"]["paths"]) for part in found.changed)
    return True


def _job(job: Mapping[str, Any]) -> ReadJob:
    assert job["stage"] == "shipway"
    for rule in job["rules"]:
        how = {"when": rule["when"], **({"allow_failure": rule["allow_failure"]} if "allow_failure" in rule else {})}
        assert how in ({"when": "on_success"}, {"when": "manual", "allow_failure": False})
    minutes = re.fullmatch(r"(\d+) minutes", job["timeout"])
    assert minutes
    return ReadJob(
        needs=frozenset(need["job"] for need in job["needs"]),
        argv=tuple(shlex.split(job["script"][-1].replace('"$CI_NODE_INDEX/', '"SHARD/'))),
        limit_min=int(minutes[1]),
        allow_failure=job.get("allow_failure", False),
        environment=job.get("environment", {}).get("name", ""),
        approval=[rule["when"] for rule in job["rules"]] == ["manual"] * len(job["rules"]),
        concurrency=job.get("resource_group", ""),
        shards=job.get("parallel", 1),
        image=job["image"]["name"],
        labels=tuple(job.get("tags", ())),
        identity="SHIPWAY_ID_TOKEN" in job.get("id_tokens", {}),
        variables=frozenset(),
        keeps=tuple(job["artifacts"]["paths"]),
        fetches=frozenset(need["job"] for need in job["needs"] if need["artifacts"]),
        runs=lambda found: any(_holds(rule, found) for rule in job["rules"]),
    )
