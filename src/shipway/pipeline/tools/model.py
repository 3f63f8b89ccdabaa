"""A program that checks something: how it is called, what its exit codes mean, how its output is read.

The modules beside this one describe the programs; the built-in stages run them through `ports.ToolRunner` and hand the
output to `reading.report_of`.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from shipway.core.findings import Finding

SCRATCH = "{scratch}"
"""Stands in an argument for a folder that is the call's alone; what is written there comes back as `files`."""


@dataclass(frozen=True, slots=True)
class ToolOutput:
    """What one call of a program left."""

    code: int
    """Negative for a signal."""
    stdout: bytes = b""
    stderr: str = ""
    """The end of it."""
    files: Mapping[str, bytes] = field(default_factory=dict, hash=False)
    """What it wrote to its scratch folder, by name."""
    version: str = ""
    root: str = ""
    """The folder it ran in, which is taken off the front of paths."""


@dataclass(frozen=True, slots=True)
class Tool:
    """A program and the meaning of what it says.

    Every exit code that is neither in `fine` nor in `found` is a crash. With one of `found` something must have been
    found, or the output was not understood.
    """

    name: str
    install: str
    read: Callable[[ToolOutput], Iterable[Finding]]
    fine: frozenset[int] = frozenset({0})
    found: frozenset[int] = frozenset({1})
    version: Sequence[str] = ("--version",)


class UnreadableOutputError(ValueError):
    """A program's output is not what this version of it is known to write."""


class ToolRunner(Protocol):
    """Runs programs of the user's environment in the project's folder."""

    def there(self, program: str) -> bool:
        """Tell whether a program can be found."""
        ...

    async def version(self, program: str, arguments: Sequence[str] = ("--version",)) -> str:
        """Return in one line what a program says about its version; empty when it says nothing."""
        ...

    async def run(
        self,
        argv: Sequence[str],
        extra: Mapping[str, str] | None = None,
        *,
        streamed: bool = False,
        given: Mapping[str, str] | None = None,
    ) -> ToolOutput:
        """Run a program to its end; whatever it started has ended then, or when this is cancelled.

        `streamed` lets its standard output go to the stage's output as it comes, instead of to `stdout`.
        `given` are files that it finds in its scratch folder, by name.

        Raises:
            NotFoundError: it is not installed.
            UnavailableError: it cannot be started.
        """
        ...
