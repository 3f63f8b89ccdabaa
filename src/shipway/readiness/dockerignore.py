"""What a `.dockerignore` keeps out of the build, decided by its own rules: order, `!`, `**`, and roots.

Source: https://docs.docker.com/build/concepts/context/#dockerignore-files
"""

import re
from dataclasses import dataclass
from posixpath import normpath


@dataclass(frozen=True, slots=True)
class IgnoreRule:
    """One pattern; `keeps` for one that begins with `!`."""

    pattern: re.Pattern[str]
    keeps: bool
    line: int
    written: str


def parse_dockerignore(text: str) -> tuple[IgnoreRule, ...]:
    """Return the rules in order."""
    rules = []
    for number, line in enumerate(text.splitlines(), start=1):
        written = line.strip()
        if not written or line.startswith("#"):
            continue
        keeps = written.startswith("!")
        path = normpath(written.removeprefix("!").strip()).lstrip("/")
        if path and path != ".":
            rules.append(IgnoreRule(re.compile(_expression(path)), keeps, number, written))
    return tuple(rules)


def excluding(rules: tuple[IgnoreRule, ...], path: str) -> IgnoreRule | None:
    """Return the rule that keeps a path out of the build, None when it gets in; the last one that matches decides."""
    decided: IgnoreRule | None = None
    parts = path.split("/")
    beginnings = ["/".join(parts[:count]) for count in range(1, len(parts) + 1)]
    for rule in rules:
        if any(rule.pattern.fullmatch(beginning) for beginning in beginnings):
            decided = None if rule.keeps else rule
    return decided


def _expression(pattern: str) -> str:
    found, at = "", 0
    while at < len(pattern):
        if pattern.startswith("**/", at):
            found, at = found + "(?:.*/)?", at + 3
        elif pattern.startswith("**", at):
            found, at = found + ".*", at + 2
        elif pattern[at] == "*":
            found, at = found + "[^/]*", at + 1
        elif pattern[at] == "?":
            found, at = found + "[^/]", at + 1
        elif pattern[at] == "[" and (end := pattern.find("]", at + 2)) > 0:
            inner = pattern[at + 1 : end].replace("\\", "\\\\")
            found, at = f"{found}[{inner}]", end + 1
        else:
            found, at = found + re.escape(pattern[at]), at + 1
    return found
