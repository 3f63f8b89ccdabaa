"""What is wrong with a project file beyond the first layer.

Keys and values are judged before references, and both before the files behind them. So that one run reports as much as
it can, what is wrong is taken out (a misspelt key gets the name that was meant) and the rest is looked at. Called by
`loading`.
"""

import copy
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError

from shipway.config.problems import KeyProblem, close_key, key_problems, placed
from shipway.config.project import WITHOUT_REFERENCES, Project
from shipway.config.yaml_source import KeyPath, Place

_ROUNDS = 8
"""Taking something out can uncover a check of its section; more layers than this no section has."""
_REFERRED_TO = frozenset({"models", "prompts", "routes", "pipeline", "corpus"})
"""Sections whose entries others name: without one, every mention of it would look wrong too."""


@dataclass(frozen=True, slots=True)
class Salvaged:
    """All that was found wrong, and the project without it; None where what is left is none."""

    project: Project | None
    places: dict[KeyPath, Place]
    problems: list[str]


def salvage(data: dict[str, Any], places: dict[KeyPath, Place], source: str) -> Salvaged:
    """Return every problem of keys, values and references that can be told from the others' consequences."""
    work = _Work(copy.deepcopy(data), dict(places), source)
    project = work.valid_project()
    if project is not None:
        work.check_references()
    return Salvaged(project, work.places, list(work.problems))


@dataclass(slots=True)
class _Work:
    data: dict[str, Any]
    places: dict[KeyPath, Place]
    source: str
    problems: dict[str, None] = field(default_factory=dict)
    taken: set[KeyPath] = field(default_factory=set)

    def valid_project(self) -> Project | None:
        for _ in range(_ROUNDS):
            try:
                return Project.model_validate(self.data, context=WITHOUT_REFERENCES)
            except ValidationError as error:
                found = key_problems(error, self.data)
            fresh = [problem for problem in found if not self._is_consequence(problem.path)]
            self._note(fresh)
            could = [self._take_out(problem) for problem in fresh]
            if not all(could) or len(fresh) < len(found):
                return None
        return None

    def check_references(self) -> None:
        try:
            Project.model_validate(self.data)
        except ValidationError as error:
            self._note(key_problems(error, self.data))

    def _note(self, problems: list[KeyProblem]) -> None:
        self.problems |= dict.fromkeys(placed(problem, self.places, self.source) for problem in problems)

    def _is_consequence(self, path: KeyPath) -> bool:
        return any(gone[: len(path)] == path for gone in self.taken)

    def _take_out(self, problem: KeyProblem) -> bool:
        """Take out what is wrong; False where that would leave no project, or make other parts look wrong."""
        path = problem.path
        if problem.kind == "extra_forbidden":
            self._rename_or_remove(path)
            return True
        while path and isinstance(path[-1], int):
            path = path[:-1]
        depth_of_names = 2 if path and path[0] in _REFERRED_TO else 0
        if problem.kind == "missing" or not path or len(path) <= depth_of_names:
            return False
        self._remove(path)
        return True

    def _rename_or_remove(self, path: KeyPath) -> None:
        meant, holder = close_key(path), _holder(self.data, path)
        if meant is None or meant in holder:
            self._remove(path)
            return
        holder[meant] = holder.pop(path[-1])
        renamed = (*path[:-1], meant)
        for old in list(_below(self.places, path)):
            self.places[(*renamed, *old[len(path) :])] = self.places.pop(old)

    def _remove(self, path: KeyPath) -> None:
        _holder(self.data, path).pop(path[-1], None)
        self.taken.add(path)


def _holder(data: Any, path: KeyPath) -> Any:
    for part in path[:-1]:
        data = data[part]
    return data


def _below(places: dict[KeyPath, Place], path: KeyPath) -> Iterator[KeyPath]:
    return (known for known in places if known[: len(path)] == path)
