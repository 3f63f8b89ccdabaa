"""Which text of a definition may stand in a CI file, as shells and CI systems read it: `${{ x }}`, `$(x)`, `{{ x }}`.

Commands, options and values of a stage never get there: jobs name the stage and the digest. What must get there (names,
patterns, paths) is refused unless it is plain, so that nothing in a definition can become an expression of the target.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Plain:
    """A kind of text that is carried."""

    expression: re.Pattern[str]
    allowed: str


STAGE = Plain(re.compile(r"[a-z][a-z0-9_-]{0,62}"), "a small letter, then small letters, digits, _ and -")
VARIABLE = Plain(re.compile(r"[A-Za-z_][A-Za-z0-9_]*"), "letters, digits and _")
PATTERN = Plain(re.compile(r"[A-Za-z0-9._/*?-]+"), "letters, digits, . _ / - and the wildcards * ?")
PATH = Plain(
    re.compile(r"(?!-)[\w./*?@+=~-]+(?: [\w./*?@+=~-]+)*"), "letters, digits, spaces, . _ / - @ + = ~ and wildcards * ?"
)
IMAGE = Plain(re.compile(r"[A-Za-z0-9][A-Za-z0-9._/:@-]*"), "letters, digits and . _ / : @ -")
NAME = Plain(re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]*"), "letters, digits and . _ / -")
TEXT = Plain(re.compile(r"[A-Za-z0-9*][A-Za-z0-9 ._/:@*,+-]*"), "letters, digits, spaces and . _ / : @ * , + -")


@dataclass(slots=True)
class Carried:
    """Collects what is not carried; an empty text says nothing and is passed over."""

    problems: list[str] = field(default_factory=list)

    def check(self, key: str, values: Iterable[str], plain: Plain) -> None:
        """Note each value that is not plain."""
        for value in values:
            if value and not plain.expression.fullmatch(value):
                self.problems.append(f"{key}: {value!r} is not carried into a CI file; allowed are {plain.allowed}")
