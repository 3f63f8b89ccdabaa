"""A record of promptfoo's CSV form as a test: columns are variables, those that begin with `__` are settings."""

from collections.abc import Callable, Mapping
from typing import Any

_EXPECTED = "__expected"
_METADATA = "__metadata:"


def test_from_cells(cells: Mapping[str, str], assertion: Callable[[str], dict[str, Any]]) -> dict[str, Any]:
    """Return the test of a record; settings that no case has stay under their own names."""
    test: dict[str, Any] = {"vars": {}, "assert": [], "metadata": {}}
    metric = cells.get("__metric")
    for name, cell in cells.items():
        if name.startswith(_EXPECTED) and (name == _EXPECTED or name.removeprefix(_EXPECTED).isdigit()):
            test["assert"].append(assertion(cell) | ({"metric": metric} if metric else {}))
        elif name.startswith(_METADATA):
            key = name.removeprefix(_METADATA)
            listed = [item.strip() for item in cell.split(",")]
            test["metadata"][key.removesuffix("[]")] = listed if key.endswith("[]") else cell
        elif name == "__description":
            test["description"] = cell
        elif name == "__threshold":
            test["threshold"] = _number(cell)
        elif name.startswith("__") and name != "__metric":
            test[name] = cell
        elif not name.startswith("__"):
            test["vars"][name] = cell
    return test


def _number(cell: str) -> float | str:
    try:
        return float(cell)
    except ValueError:
        return cell
