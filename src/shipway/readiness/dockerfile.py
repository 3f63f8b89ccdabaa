"""Reading a Dockerfile as BuildKit does: continuations, comments, the escape directive, here-documents, stages, ARG.

Checks call it. Libraries that leave here-documents out read the lines inside one as instructions, and a `USER app` in a
script would pass for the image's user.
Source: https://docs.docker.com/reference/dockerfile/
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

_DIRECTIVE = re.compile(r"#\s*(?P<name>[a-zA-Z][a-zA-Z0-9]*)\s*=\s*(?P<value>\S+)\s*$")
_HEREDOC = re.compile(r"<<-?\s*(?:\"(?P<double>[^\"]+)\"|'(?P<single>[^']+)'|(?P<plain>[A-Za-z0-9_.]+))")
_TAKES_HEREDOC = {"RUN", "COPY", "ADD"}
_VARIABLE = re.compile(r"\$(?:\{(?P<braced>\w+)(?P<rest>[^}]*)\}|(?P<plain>\w+))")
_FROM = re.compile(r"^(?:--platform=\S+\s+)?(?P<image>\S+)(?:\s+AS\s+(?P<name>\S+))?\s*$", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Instruction:
    """One instruction; `value` is what follows its name, on one line."""

    name: str
    value: str
    line: int


@dataclass(frozen=True, slots=True)
class Stage:
    """One build stage: its base image as written and with variables filled in (None when one has no default)."""

    name: str
    written: str
    image: str | None
    line: int
    instructions: tuple[Instruction, ...]


@dataclass(frozen=True, slots=True)
class Dockerfile:
    """The stages, in order; the last one is the image."""

    stages: tuple[Stage, ...]

    def chain(self) -> tuple[Stage, ...]:
        """Return the final stage and the stages that it is built on, nearest first; files copied in do not count."""
        found = [self.stages[-1]]
        while (parent := self.parent(found[-1])) is not None:
            found.append(parent)
        return tuple(found)

    def parent(self, stage: Stage) -> Stage | None:
        """Return the stage of this file that a stage begins from, None for an image from elsewhere."""
        at = self.stages.index(stage)
        for earlier in reversed(self.stages[:at]):
            if stage.image is not None and earlier.name.lower() == stage.image.lower() != "":
                return earlier
        return None

    def last(self, name: str) -> Instruction | None:
        """Return the instruction of a name that holds in the image: the last one along the chain of stages."""
        for stage in self.chain():
            for instruction in reversed(stage.instructions):
                if instruction.name == name:
                    return instruction
        return None


def parse_dockerfile(text: str) -> Dockerfile:
    """Return the stages of a Dockerfile.

    Raises:
        ValueError: it is none: nothing in it, an instruction before the first FROM, a here-document without an end.
    """
    before: dict[str, str | None] = {}
    stages: list[tuple[re.Match[str], int, list[Instruction]]] = []
    for instruction in _instructions(text):
        if instruction.name == "FROM":
            found = _FROM.match(instruction.value)
            if found is None:
                raise ValueError(f"line {instruction.line}: FROM {instruction.value!r} names no image")
            stages.append((found, instruction.line, []))
        elif stages:
            stages[-1][2].append(instruction)
        elif instruction.name == "ARG":
            before.update(argument_defaults(instruction.value))
        else:
            raise ValueError(f"line {instruction.line}: {instruction.name} stands before the first FROM")
    if not stages:
        raise ValueError("there is no FROM in it")
    return Dockerfile(
        tuple(
            Stage(found["name"] or "", found["image"], filled(found["image"], before), line, tuple(inner))
            for found, line, inner in stages
        )
    )


def argument_defaults(value: str) -> Iterator[tuple[str, str | None]]:
    """Yield the variables of an ARG with their defaults, None where there is none."""
    for word in value.split():
        name, sign, default = word.partition("=")
        yield name, default.strip("\"'") if sign else None


def filled(text: str, variables: Mapping[str, str | None]) -> str | None:
    """Return a text with its variables filled in, None when one is not known or written in a way not read here."""
    unknown = False

    def value(found: re.Match[str]) -> str:
        nonlocal unknown
        known = variables.get(found["braced"] or found["plain"])
        rest = found["rest"] or ""
        if not rest and known is not None:
            return known
        if rest.startswith(":-"):
            return known or rest[2:]
        unknown = True
        return ""

    filled_in = _VARIABLE.sub(value, text)
    return None if unknown else filled_in


def _instructions(text: str) -> Iterator[Instruction]:
    lines = text.replace("\r\n", "\n").split("\n")
    escape = _escape(lines)
    at = 0
    while at < len(lines):
        start, stripped = at, lines[at].strip()
        at += 1
        if not stripped or stripped.startswith("#"):
            continue
        parts = []
        current = lines[start]
        while current.rstrip().endswith(escape):
            parts.append(current.rstrip()[: -len(escape)])
            # Comments and empty lines inside a continued instruction are no part of it.
            while at < len(lines) and (not lines[at].strip() or lines[at].lstrip().startswith("#")):
                at += 1
            if at == len(lines):
                current = ""
                break
            current = lines[at]
            at += 1
        parts.append(current)
        name, _, value = "".join(parts).strip().partition(" ")
        name = name.upper()
        if name == "ONBUILD":
            continue
        yield Instruction(name, value.strip(), start + 1)
        if name in _TAKES_HEREDOC:
            at = _after_heredocs(value, lines, at)


def _after_heredocs(value: str, lines: list[str], at: int) -> int:
    for found in _HEREDOC.finditer(value):
        end = found["double"] or found["single"] or found["plain"]
        while at < len(lines) and lines[at].strip() != end:
            at += 1
        if at == len(lines):
            raise ValueError(f"the here-document {end!r} has no end")
        at += 1
    return at


def _escape(lines: list[str]) -> str:
    for line in lines:
        found = _DIRECTIVE.match(line.strip())
        if found is None:
            break
        if found["name"].lower() == "escape" and found["value"] == "`":
            return "`"
    return "\\"
