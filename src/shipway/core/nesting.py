"""How deep a value read from a file is nested.

Readers of data that users write ask before anything walks such a value by recursion.
"""

from typing import Any

DEEPEST = 64
"""No case, prompt or metadata that a person writes comes near; Python's own walks end at about 1000."""
TOO_DEEP = f"nested more than {DEEPEST} levels deep; write it flat"


def too_deep(value: Any) -> bool:
    """Tell whether lists and mappings stand more than `DEEPEST` levels inside each other; one holding itself does."""
    level = [value]
    for _ in range(DEEPEST):
        # What several places share counts once, so that YAML's aliases cannot multiply the work.
        inner = {id(item): item for holder in level for item in _items(holder) if isinstance(item, (dict, list))}
        if not inner:
            return False
        level = list(inner.values())
    return True


def _items(holder: Any) -> list[Any]:
    if isinstance(holder, dict):
        return list(holder.values())
    return holder if isinstance(holder, list) else []
