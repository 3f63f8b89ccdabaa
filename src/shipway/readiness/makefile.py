"""The recipes of a Makefile's targets, as far as they are written plainly."""

import re

_RULE = re.compile(r"^(?P<targets>[A-Za-z0-9_./ -]+?)\s*:(?!=)(?P<needs>[^=#]*)(?:#.*)?$")
_VARIABLE = re.compile(r"\$\((\w+)\)|\$\{(\w+)\}")
_DEEPEST = 8

Recipe = list[tuple[int, str, bool]]
"""Line, script, and whether its failure is ignored."""


def recipe(text: str, target: str, depth: int = 0) -> Recipe | None:
    """Return the lines that `make TARGET` runs, those of what it needs first; None when it is not written plainly."""
    rules = _rules(text)
    if target not in rules or depth > _DEEPEST:
        return None
    needs, lines = rules[target]
    found: Recipe = []
    for need in needs:
        if need in rules:
            found += recipe(text, need, depth + 1) or []
    return found + lines


def _rules(text: str) -> dict[str, tuple[list[str], Recipe]]:
    rules: dict[str, tuple[list[str], Recipe]] = {}
    current: list[str] = []
    pending, start = "", 0
    for number, line in enumerate(text.split("\n"), start=1):
        if line.startswith("\t") and current:
            start = start or number
            if line.endswith("\\"):
                pending += line[1:-1] + " "
                continue
            script, pending = (pending + line.lstrip("\t")).strip(), ""
            for name in current:
                rules[name][1].append(_line(start, script))
            start = 0
            continue
        found = _RULE.match(line)
        if found is not None:
            current = found["targets"].split()
            for name in current:
                needs, _ = rules.setdefault(name, ([], []))
                needs += found["needs"].split()
        elif line.strip() and not line.startswith("#"):
            current = []
    return rules


def _line(number: int, script: str) -> tuple[int, str, bool]:
    marks = script[: len(script) - len(script.lstrip("@-+"))]
    # `$(BIN)/pytest` is a program in a folder; `$$` is the shell's dollar.
    plain = _VARIABLE.sub(lambda found: found[1] or found[2], script.lstrip("@-+")).replace("$$", "$")
    return number, plain, "-" in marks
