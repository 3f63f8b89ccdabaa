"""What changed between two releases, by part, and which gates that makes necessary."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from shipway.registry.model import PARTS, PartKind, Release

_EVAL_ALWAYS: frozenset[PartKind] = frozenset({"prompt", "model", "data"})


@dataclass(frozen=True, slots=True)
class Change:
    """One value that differs; None on a side means it is not there."""

    part: PartKind
    key: str
    before: Any
    after: Any


@dataclass(frozen=True, slots=True)
class ReleaseDifference:
    """Every change from one release to another."""

    before: str
    after: str
    changes: tuple[Change, ...]

    @property
    def parts(self) -> tuple[PartKind, ...]:
        """Return the parts that changed, in the manifest's order."""
        changed = {change.part for change in self.changes}
        return tuple(part for part in PARTS if part in changed)

    @property
    def evaluation(self) -> str:
        """Return whether quality gates must run: `required`, `advised` or `not needed`.

        A prompt, a model or data always change answers; policy decides what reaches the user; code may or may not.
        """
        if set(self.parts) & (_EVAL_ALWAYS | {"policy"}):
            return "required"
        return "advised" if self.parts else "not needed"


def difference(before: Release, after: Release) -> ReleaseDifference:
    """Return what changed from `before` to `after`."""
    changes: list[Change] = []
    for part, key in PARTS.items():
        old = dict(_leaves(before.manifest[key], ""))
        new = dict(_leaves(after.manifest[key], ""))
        changes += [
            Change(part, name, old.get(name), new.get(name))
            for name in sorted(old.keys() | new.keys())
            if old.get(name) != new.get(name)
        ]
    return ReleaseDifference(before.id, after.id, tuple(changes))


def _leaves(value: Any, path: str) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict) and value:
        for key, item in value.items():
            yield from _leaves(item, f"{path}.{key}" if path else key)
    else:
        yield path, value
