"""Running commands the way a user would: printed, then run, with their output on the terminal."""

import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import typer

from shipway.core.errors import ShipwayError


class BrokenPromiseError(ShipwayError):
    """A step did not come out as the demo says it does."""


@dataclass(slots=True)
class StepTime:
    """How long a step took and what came out."""

    title: str
    seconds: float = 0.0
    outcome: str = ""


@dataclass(slots=True)
class Shell:
    """Commands in the demo's project folder; `times` collects where the time went."""

    folder: Path
    times: list[StepTime] = field(default_factory=list)
    _started_s: float = 0.0

    def step(self, title: str) -> None:
        """Begin a step and end the one before."""
        self.end_step()
        self.times.append(StepTime(title))
        self._started_s = time.monotonic()
        typer.echo(f"\n== {title}")

    def end_step(self) -> None:
        """End the present step."""
        if self.times and self._started_s:
            self.times[-1].seconds = time.monotonic() - self._started_s
            self._started_s = 0.0

    def outcome(self, text: str) -> None:
        """Say what came out of the present step."""
        self.times[-1].outcome = text
        typer.echo(f"   {text}")

    def run(self, *arguments: str, expect: int = 0) -> None:
        """Print and run `shipway ARGUMENTS`.

        Raises:
            BrokenPromiseError: another exit code than expected.
        """
        self._show(arguments)
        done = subprocess.run([*self._program(), *arguments], cwd=self.folder, env=self._environment(), check=False)
        self._check(arguments, done.returncode, expect)

    def ask(self, *arguments: str, expect: int = 0, quiet: bool = True) -> Any:
        """Run `shipway ARGUMENTS --json` and return the document; printed unless quiet."""
        if not quiet:
            self._show(arguments)
        command = [*self._program(), *arguments, "--json"]
        done = subprocess.run(
            command, cwd=self.folder, env=self._environment(), check=False, stdout=subprocess.PIPE, text=True
        )
        self._check(arguments, done.returncode, expect, output=done.stdout)
        return json.loads(done.stdout)

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Start `python -m …` beside, with its output on the terminal's error stream."""
        command = [sys.executable, "-m", *arguments]
        return subprocess.Popen(command, cwd=self.folder, env=self._environment(), stdout=subprocess.PIPE, text=True)

    def copy(self, source: str, target: str) -> None:
        """Print and do `cp SOURCE TARGET` in the project."""
        typer.echo(f"$ cp {source} {target}")
        (self.folder / target).write_bytes((self.folder / source).read_bytes())

    def require(self, promise: object, what: str) -> None:
        """Go on only when a promise was kept."""
        if not promise:
            raise BrokenPromiseError(
                f"the demo promised: {what}", hint="`--keep` leaves everything running to look at it"
            )

    def _show(self, arguments: tuple[str, ...]) -> None:
        shown = " ".join(f'"{part}"' if " " in part else part for part in arguments)
        typer.echo(f"$ shipway {shown}")

    def _check(self, arguments: tuple[str, ...], code: int, expect: int, output: str = "") -> None:
        if code != expect:
            detail = f"\n{output.strip()}" if output.strip() else ""
            raise BrokenPromiseError(f"`shipway {' '.join(arguments)}` ended with {code} instead of {expect}{detail}")

    def _program(self) -> list[str]:
        return [sys.executable, "-m", "shipway.entrypoints.cli.main"]

    def _environment(self) -> dict[str, str]:
        # The demo's own project decides, not what the caller's shell may have set for another one.
        return {
            name: value for name, value in os.environ.items() if name != "APP_ENV" and not name.startswith("SHIPWAY__")
        }
