"""The catalogue of built-in stages, and the stages themselves, loaded when they run. The pipeline's commands ask."""

import importlib
import pkgutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from shipway.entrypoints import stages
from shipway.pipeline.builtins import Builtin
from shipway.pipeline.ports import BuiltinStage


def catalogue() -> dict[str, Builtin]:
    """Return every built-in by name, from the modules of the folder `stages`."""
    names = sorted(module.name for module in pkgutil.iter_modules(stages.__path__) if not module.ispkg)
    found: dict[str, Builtin] = {}
    for name in names:
        for builtin in importlib.import_module(f"{stages.__name__}.{name}").STAGES:
            if builtin.name in found:
                raise RuntimeError(f"two built-in stages are named {builtin.name!r}; one is in {name}")
            found[builtin.name] = builtin
    return found


def builtin_stages(project: Path | None, known: Mapping[str, Builtin] | None = None) -> Mapping[str, BuiltinStage]:
    """Return the built-in stages of a project; each is imported when it is asked for."""
    return _Loaded(catalogue() if known is None else known, project)


class _Loaded(Mapping[str, BuiltinStage]):
    def __init__(self, known: Mapping[str, Builtin], project: Path | None) -> None:
        self._known = known
        self._project = project

    def __getitem__(self, name: str) -> BuiltinStage:
        module_name, _, attribute = self._known[name].loads.partition(":")
        make: Callable[[Path | None], BuiltinStage] = getattr(importlib.import_module(module_name), attribute)
        return make(self._project)

    def __contains__(self, name: object) -> bool:
        return name in self._known

    def __iter__(self) -> Iterator[str]:
        return iter(self._known)

    def __len__(self) -> int:
        return len(self._known)
