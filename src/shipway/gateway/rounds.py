"""Looking at many things again and again, a part at a time, so that no look holds the event loop up."""

from collections.abc import Collection
from typing import Generic, TypeVar

T = TypeVar("T")

_LEAST = 64
"""Looking at so many takes a few microseconds."""


class Rounds(Generic[T]):
    """Goes round what a collection holds: each part is a `parts`th of it, at least `_LEAST` things.

    What joins in the middle of a round is seen in the next one; what leaves may still be in a part.
    """

    def __init__(self, things: Collection[T], parts: int) -> None:
        self._things = things
        self._parts = parts
        self._left: list[T] = []
        self._size = _LEAST

    def part(self) -> list[T]:
        """Return the next part."""
        if not self._left:
            self._left = list(self._things)
            self._size = max(_LEAST, -(-len(self._left) // self._parts))
        part = self._left[-self._size :]
        del self._left[-self._size :]
        return part

    @property
    def is_over(self) -> bool:
        """Return whether the next part begins a round."""
        return not self._left
