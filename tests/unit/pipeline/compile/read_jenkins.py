"""Reads a Jenkinsfile of ours back by its blocks; whether it is Groovy at all is told by a tool of others."""

import re
import shlex
from collections.abc import Iterator

from tests.unit.pipeline.compile.reading import ReadFile, ReadJob

from shipway.pipeline.selection import Circumstance

_STAGE = re.compile(r"^ +stage\('([^']+)'\) \{$")


def read_jenkins(text: str) -> ReadFile:
    parts: dict[str, list[list[str]]] = {}
    for name, lines in _blocks(text):
        if not name.startswith("level "):
            parts.setdefault(name.split(" ")[0], []).append(lines)
    starts = re.search(r"event\(\) != 'push' \|\| branch\(\) ==~ /(.*)/$", text, re.MULTILINE)
    assert starts
    schedule = re.search(r"cron\('TZ=UTC\\n(.*)'\)", text)
    return ReadFile(
        {name: _job(name, blocks) for name, blocks in parts.items()},
        lambda found: found.event != "push" or _matches(starts[1], found.branch),
        schedule and schedule[1],
    )


def levels(text: str) -> list[set[str]]:
    """The stages of each level, in the order of the levels."""
    found: list[set[str]] = []
    for name, _ in _blocks(text):
        if name.startswith("level "):
            found.append(set())
        else:
            found[-1].add(name.split(" ")[0])
    return found


def _blocks(text: str) -> Iterator[tuple[str, list[str]]]:
    """Yield each stage with the lines inside its braces; a block ends at a brace that stands below its beginning."""
    lines = text.splitlines()
    for number, line in enumerate(lines):
        match = _STAGE.match(line)
        if match:
            indent = line[: len(line) - len(line.lstrip())]
            end = lines.index(f"{indent}}}", number)
            yield match[1], [inner.strip() for inner in lines[number + 1 : end]]


def _matches(expression: str, branch: str) -> bool:
    return re.fullmatch(expression.replace(r"\/", "/"), branch) is not None


def _job(stage: str, blocks: list[list[str]]) -> ReadJob:
    lines = blocks[0]
    asked = one(r"expression \{ started\(\) && free\(\[(.*?)\]\)(.*) \}", lines)
    condition = re.fullmatch(
        r"(?: && event\(\) in \[(?P<events>.*?)\])?(?: && branch\(\) && branch\(\) ==~ /(?P<branches>.*)/)?", asked[2]
    )
    assert condition

    def runs(found: Circumstance) -> bool:
        events, branches = condition["events"], condition["branches"]
        if events is not None and found.event not in events.replace("'", "").split(", "):
            return False
        return branches is None or (found.branch != "" and _matches(branches, found.branch))

    run = next(line for line in lines if line.startswith("shipway pipeline run-stage"))
    agent = next(line for line in lines if line.startswith("agent"))
    image = re.search(r"image '([^']*)'", agent)
    label = re.search(r"label '([^']*)'", agent)
    lock = next((line for line in lines if line.startswith("options")), "")
    environment = next((line for line in lines if line.startswith("input")), "")
    assert label
    fails = any("buildResult: 'FAILURE', stageResult: 'FAILURE'" in line for line in lines)
    assert fails == (f"failed.add('{stage}')" in lines) == (f"failed.remove('{stage}')" in lines)
    return ReadJob(
        needs=frozenset(re.findall(r"'([^']+)'", asked[1])),
        argv=tuple(shlex.split(run.replace('"$SHIPWAY_JOB_SHARD/', '"SHARD/'))),
        limit_min=int(one(r"timeout\(time: (\d+), unit: 'MINUTES'\) \{", lines)[1]),
        allow_failure=not fails,
        environment="".join(re.findall(r"go on to ([^?]*)\?", environment)),
        approval=all(any(line.startswith("input {") for line in block) for block in blocks),
        concurrency="".join(re.findall(r"lock\(resource: '([^']*)'\)", lock)),
        shards=len(blocks),
        image=image[1] if image else "",
        labels=tuple(label[1].split(" && ")),
        identity=False,
        variables=frozenset(re.findall(r"(\w+) = credentials\('\1'\)", "\n".join(lines))),
        keeps=tuple(one(r"stash\(name: '[\w.-]+', includes: '([^']*)', .*\)", lines)[1].split(",")),
        fetches=frozenset(re.findall(r"unstash\('([^'.]+)\.\d+'\)", "\n".join(lines))),
        runs=runs,
    )


def one(expression: str, lines: list[str]) -> "re.Match[str]":
    """The one line that is like this."""
    [match] = [match for line in lines if (match := re.fullmatch(expression, line))]
    return match
