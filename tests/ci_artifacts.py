"""What GitHub's actions for artifacts do between the jobs of a compiled workflow, with folders of this machine."""

import os
import shlex
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from shipway.pipeline.patterns import fixed_part, matches_any


@dataclass(frozen=True)
class Artifacts:
    """Keeps and gives back files as GitHub's actions do."""

    folder: Path

    def keep(self, checkout: Path, step: Mapping[str, Any]) -> None:
        patterns = step["path"].splitlines()
        # Paths in an artifact are relative to the deepest folder that all of them are in, or to that of the only one.
        fixed = [str(checkout / fixed_part(pattern)) for pattern in patterns]
        root = Path(os.path.commonpath(fixed)) if len(fixed) > 1 else Path(fixed[0]).parent
        for file in checkout.rglob("*"):
            if file.is_file() and matches_any(file.relative_to(checkout).as_posix(), patterns):
                target = self.folder / step["name"] / file.relative_to(root)
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(file, target)

    def give(self, checkout: Path, step: Mapping[str, Any]) -> None:
        for artifact in self.kept():
            if fnmatchcase(artifact.name, step["pattern"]):
                shutil.copytree(artifact, checkout / step["path"], dirs_exist_ok=True)

    def kept(self) -> Iterator[Path]:
        yield from self.folder.iterdir() if self.folder.is_dir() else ()

    def job(self, job: Mapping[str, Any], checkout: Path, run: Callable[[list[str]], int]) -> int:
        """Take the steps of a job in a checkout; `run` gets the words after `shipway` and returns the exit code."""
        code = 0
        for step in job["steps"]:
            if "download-artifact" in step.get("uses", ""):
                self.give(checkout, step["with"])
            elif step.get("name") == "Run":
                code = run(shlex.split(step["run"])[1:])
            elif step.get("name") == "Keep":
                self.keep(checkout, step["with"])
        return code
