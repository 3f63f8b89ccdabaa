"""Whether the gateway's hot path runs compiled: `shipway doctor` asks.

A compiled wheel (docs/how-to/run-faster.md) has the list of its compiled modules beside the package. What Python really
loads is asked of Python: an extension module made for another version is passed over in silence, and the .py file runs.
"""

from dataclasses import dataclass
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

import shipway

_LIST = "compiled.txt"


@dataclass(frozen=True, slots=True)
class HotPath:
    """How many modules this installation has compiled, and which of them this Python passes over."""

    compiled: int
    passed_over: tuple[str, ...]


def hot_path(package: Path | None = None) -> HotPath:
    """Look at an installation; without an argument at the one that runs."""
    package = package or Path(shipway.__file__).parent
    listed = package / _LIST
    modules = listed.read_text(encoding="utf-8").split() if listed.is_file() else []
    return HotPath(len(modules), tuple(module for module in modules if not _is_loadable(package.parent, module)))


def _is_loadable(folder: Path, module: str) -> bool:
    path = folder / module.replace(".", "/")
    return any(path.with_name(path.name + suffix).is_file() for suffix in EXTENSION_SUFFIXES)
