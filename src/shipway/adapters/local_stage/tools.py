"""What the programs of a stage are: asked once a run; implements `pipeline.ports.Toolbox`."""

import os
import platform
import shlex
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path

import anyio

from shipway.core.errors import UsageError
from shipway.pipeline.spec import StageSpec

_TIMEOUT_S = 60.0
_LONGEST_CHARS = 500


class LocalToolbox:
    """Programs of this machine; `digest` gives the digest of a file's content, None where there is no file."""

    def __init__(
        self, root: Path, environ: Mapping[str, str], version: str, digest: Callable[[Path], str | None]
    ) -> None:
        self._root = root
        self._environ = environ
        self._version = version
        self._digest = digest
        self._folders = [folder or "." for folder in environ.get("PATH", os.defpath).split(os.pathsep)]
        self._said: dict[tuple[str, Path, str], str] = {}
        self._locks: dict[str, anyio.Lock] = {}

    async def versions(self, stage: StageSpec) -> dict[str, str]:
        """Return what decides how a stage's programs behave."""
        found = {"python": f"{platform.python_implementation()} {platform.python_version()}"}
        if stage.run:
            path = self._path_of(stage.run[0])
            # What is not found fails when it is started, with a better message. Looked up for each stage: one before it
            # may have installed another one.
            found["program"] = (self._digest(path) if path is not None else None) or "not found"
        else:
            found["shipway"] = self._version
        for tool in stage.tools:
            # A built-in says itself what to install.
            is_said = stage.uses is not None and self._path_of((shlex.split(tool) or [""])[0]) is None
            found[tool] = "not there" if is_said else await self._version_of(stage, tool)
        return found

    async def _version_of(self, stage: StageSpec, tool: str) -> str:
        words = shlex.split(tool)
        path = self._path_of(words[0]) if words else None
        if path is None:
            raise UsageError(
                f"pipeline.{stage.name}.tools: {tool!r} is not there", hint="install it, or take it out of tools"
            )
        known = (tool, path, self._digest(path) or "")
        async with self._locks.setdefault(tool, anyio.Lock()):
            if known not in self._said:
                argv = [str(path), *(words[1:] or ["--version"])]
                self._said[known] = await self._ask(f"pipeline.{stage.name}.tools: {tool!r}", argv)
        return self._said[known]

    async def _ask(self, where: str, argv: list[str]) -> str:
        try:
            with anyio.fail_after(_TIMEOUT_S):
                done = await anyio.run_process(
                    argv, cwd=self._root, env=dict(self._environ), check=False, stderr=subprocess.STDOUT
                )
        except (OSError, TimeoutError) as error:
            raise UsageError(f"{where} does not say its version: {error or 'no answer in time'}") from None
        said = done.stdout.decode(errors="replace").strip()
        if done.returncode != 0:
            raise UsageError(f"{where} does not say its version: exit code {done.returncode}: {said[-200:]}")
        return " ".join(said.split())[:_LONGEST_CHARS]

    def _path_of(self, name: str) -> Path | None:
        if "/" in name:
            path = self._root / name
            return path if path.is_file() else None
        for folder in self._folders:
            # Texts, because this happens for every stage and paths take their time.
            found = f"{folder}/{name}"
            if os.access(found, os.X_OK) and os.path.isfile(found):  # noqa: PTH113
                return Path(found)
        return None
