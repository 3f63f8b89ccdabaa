"""The `shipway` program as tests start it: a process of its own, with the interpreter that runs the tests."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PROGRAM = [sys.executable, "-m", "shipway.entrypoints.cli.main"]


@dataclass(frozen=True)
class Done:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


def environment(**more: str) -> dict[str, str]:
    """Return an environment in which `python` is the one that runs the tests, with `more` in it."""
    folder = str(Path(sys.executable).parent)
    return {**os.environ, "PATH": folder + os.pathsep + os.environ.get("PATH", ""), **more}


def run_program(*arguments: str, timeout_s: float) -> Done:
    """Run a command to its end."""
    done = subprocess.run(
        [*PROGRAM, *arguments],
        capture_output=True,
        text=True,
        timeout=timeout_s,
        # What the command starts writes its log as it goes, so that a test can read it.
        env=environment(PYTHONUNBUFFERED="1"),
        check=False,
    )
    return Done(done.returncode, done.stdout, done.stderr)
