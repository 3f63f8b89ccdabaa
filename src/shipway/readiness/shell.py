"""Which programs a shell script runs, and whether the script notices when one fails.

CI checks call it. A command counts only when it surely runs and its failure surely ends the script; what stands behind
a condition, before a `||` or in a pipe without `pipefail` does not. What cannot be read is told, not guessed.
"""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from posixpath import basename

_EXPRESSION = re.compile(r"\$\{\{.*?\}\}|\$\([A-Za-z_]\w*\)")
_ASSIGNMENT = re.compile(r"[A-Za-z_]\w*=.*")
_OPENS = {"if", "for", "while", "until", "case", "{", "("}
_CLOSES = {"fi", "done", "esac", "}", ")"}
_INSIDE = {"then", "else", "elif", "do"}
_SEPARATORS = {";", "&&", "||", "|", "&", "\n", ";;", "|&"}
_RUNNERS = {("uv", "run"), ("poetry", "run"), ("pipenv", "run"), ("pdm", "run"), ("rye", "run")}
_PREFIXES = {"sudo", "time", "nice", "env", "exec", "command", "xvfb-run"}
_MODULES = {
    "pytest",
    "ruff",
    "mypy",
    "flake8",
    "pylint",
    "black",
    "unittest",
    "shipway",
    "coverage",
    "tox",
    "nox",
    "build",
}


@dataclass(frozen=True, slots=True)
class Command:
    """One program with its arguments. `counts` says that it surely runs and that its failure is noticed."""

    argv: tuple[str, ...]
    line: int
    counts: bool = True

    @property
    def program(self) -> str:
        """Return the program's name without its folder."""
        return self.argv[0] if self.argv else ""

    def __str__(self) -> str:
        return shlex.join(self.argv)


def commands(script: str, first_line: int = 1, *, strict: bool = True) -> tuple[Command, ...]:
    """Return the commands of a script; `strict` when its shell ends at the first failure, as CI systems start it.

    Raises:
        ValueError: it cannot be read: an open quote, a here-document.
    """
    text = _EXPRESSION.sub("_expression_", script)
    if "<<" in text:
        raise ValueError("a here-document")
    found: list[Command] = []
    state = _State(strict)
    for line, words in _lines(text):
        found += state.read(words, first_line + line)
    if not strict and not state.strict and found:
        # Without `set -e` the last command alone decides how a script ends.
        found = [Command(item.argv, item.line, counts=False) for item in found[:-1]] + [found[-1]]
    return tuple(found)


def _lines(text: str) -> Iterator[tuple[int, list[str]]]:
    pending, start = "", 0
    for number, line in enumerate(text.split("\n")):
        if not pending:
            start = number
        if line.endswith("\\"):
            pending += line[:-1] + " "
            continue
        whole, pending = pending + line, ""
        lexer = shlex.shlex(whole, posix=True, punctuation_chars=";&|()")
        lexer.whitespace_split = True
        lexer.commenters = "#"
        try:
            words = list(lexer)
        except ValueError as error:
            raise ValueError(f"line {number + 1}: {error}") from error
        if words:
            yield start, words


class _State:
    """What holds from one line of a script to the next."""

    def __init__(self, strict: bool) -> None:  # noqa: FBT001 - one flag is all there is
        self.strict = strict
        self.pipefail = False
        self.depth = 0

    def read(self, words: list[str], line: int) -> Iterator[Command]:
        pieces: list[tuple[list[str], str]] = []
        current: list[str] = []
        for word in words:
            if word in _SEPARATORS:
                pieces.append((current, word))
                current = []
            else:
                current.append(word)
        pieces.append((current, ""))
        for index, (piece, separator) in enumerate(pieces):
            later = pieces[index + 1][0] if index + 1 < len(pieces) else []
            before = pieces[index - 1][1] if index else ""
            yield from self._one(piece, separator, later, before, line)

    def _one(self, piece: list[str], separator: str, later: list[str], before: str, line: int) -> Iterator[Command]:
        words = list(piece)
        while words and (words[0] in _OPENS | _CLOSES | _INSIDE or words[0] == "!"):
            word = words.pop(0)
            self.depth += (word in _OPENS) - (word in _CLOSES)
            if word == "!" or word in _OPENS | {"elif"}:
                # A condition is asked, not demanded.
                words = ["!", *words]
                break
        asked = bool(words) and words[0] == "!"
        words = words[1:] if asked else words
        if words[:1] == ["set"]:
            self._set(words[1:])
            return
        argv = plain_argv(words)
        if not argv:
            return
        unnoticed = (
            (separator == "||" and later[:1] != ["exit"])
            or separator == "&"
            or (separator in {"|", "|&"} and not self.pipefail)
        )
        sure = not asked and self.depth == 0 and before != "||" and not unnoticed
        yield Command(argv, line, counts=sure)

    def _set(self, words: list[str]) -> None:
        for index, word in enumerate(words):
            if word.startswith("-") and "e" in word and "o" not in word:
                self.strict = True
            if word.startswith("-") and "e" in word and word.endswith("o"):
                self.strict = True
            if word.startswith("+") and "e" in word:
                self.strict = False
                # Nothing is noticed from here on.
                self.depth += 1
            if word == "pipefail" and index and words[index - 1].startswith("-"):
                self.pipefail = True


def plain_argv(words: list[str]) -> tuple[str, ...]:
    """Return the program that words start, without what only wraps it: variables, `sudo`, `uv run`, `python -m`."""
    rest = list(words)
    while rest:
        if _ASSIGNMENT.fullmatch(rest[0]) or rest[0] in _PREFIXES:
            rest = rest[1:]
        elif tuple(rest[:2]) in _RUNNERS:
            rest = rest[2:]
            while rest and rest[0].startswith("-"):
                rest = rest[1:]
        else:
            break
    if not rest:
        return ()
    program = basename(rest[0]) or rest[0]
    if program.startswith("python") and rest[1:2] == ["-m"] and len(rest) > 2 and rest[2] in _MODULES:  # noqa: PLR2004
        return plain_argv(rest[2:])
    if program == "coverage" and rest[1:3] == ["run", "-m"]:
        return plain_argv(rest[3:])
    if rest[0].startswith("./"):
        return tuple(rest)
    return (program, *rest[1:])
