"""Inspect's samples: `input`, `target`, `choices`, `id`, `metadata` as JSON lines, JSON or CSV.

Source: `inspect_ai.dataset.Sample` of Inspect 0.3 and the fields that `json_dataset` and `csv_dataset` read by default.
"""

from collections.abc import Mapping
from string import ascii_uppercase
from typing import Any

from shipway.evals.imports.imported import Imported, Neighbours
from shipway.evals.imports.items import Columns, imported_rows, listed

_LEFT_OUT = ("files", "sandbox", "setup")
_KNOWN = frozenset({"input", "target", "choices", "id", "metadata", *_LEFT_OUT})
_PYTHON = frozenset({"choices", "metadata"})
"""Fields whose cells in a CSV file are written as Python values."""


def read(text: str, file: str, _neighbours: Neighbours) -> Imported:
    """Return the rows of a `.jsonl`, `.json` or `.csv` file."""
    return imported_rows(text, file, Columns(_KNOWN, _PYTHON), _values)


def _values(sample: dict[str, Any], place: str, number: int, dropped: list[str]) -> dict[str, Any]:
    name = sample.get("id")
    values: dict[str, Any] = {"id": str(name) if name not in (None, "") else f"inspect-{number:04d}"}
    values |= _asked(sample.get("input"))
    metadata = dict(sample["metadata"]) if isinstance(sample.get("metadata"), Mapping) else {}
    others = {key: value for key, value in sample.items() if key not in _KNOWN and value not in (None, "")}
    metadata |= others | {"origin": place}
    targets = _targets(sample.get("target"))
    choices = listed(sample.get("choices"))
    if choices and isinstance(values.get("question"), str):
        if len(choices) > len(ascii_uppercase):
            raise ValueError(f"choices: {len(choices)}, but only {len(ascii_uppercase)} letters to name them with")
        letters = dict(zip(ascii_uppercase, map(str, choices), strict=False))
        values["question"] = "\n".join([values["question"], "", *(f"{a}) {b}" for a, b in letters.items())])
        targets = [f"{target}) {letters[target]}" if target in letters else target for target in targets]
    if targets:
        values["reference"] = targets[0]
    if len(targets) > 1:
        metadata["targets"] = targets
        dropped.append(f"{place}: target: of {len(targets)} right answers the first is the reference")
    dropped += [f"{place}: {key}: has no counterpart; left out" for key in _LEFT_OUT if sample.get(key)]
    return values | {"metadata": metadata}


def _asked(value: Any) -> dict[str, Any]:
    """Return the question and the messages before it; `read_case` says what is wrong with other values."""
    if not isinstance(value, list):
        return {} if value is None else {"question": value}
    turns = [turn for turn in value if isinstance(turn, Mapping)]
    last = max((index for index, turn in enumerate(turns) if turn.get("role") == "user"), default=None)
    if last is None:
        raise ValueError("input: no message of role user, so nobody asks anything")
    if last + 1 < len(turns):
        raise ValueError("input: ends with a message that is not the user's; Inspect would let the model go on from it")
    before = [dict(turn) for turn in turns[:last]]
    return {"question": _text(turns[last].get("content"))} | ({"messages": before} if before else {})


def _text(content: Any) -> Any:
    if not isinstance(content, list):
        return content
    parts = [part.get("text") if isinstance(part, Mapping) and part.get("type") == "text" else None for part in content]
    if None in parts:
        raise ValueError("input: the question holds a part that is no text; only texts can be asked")
    return "\n".join(str(part) for part in parts)


def _targets(value: Any) -> list[str]:
    if value in (None, "", []):
        return []
    return [str(item) for item in value] if isinstance(value, list) else [str(value)]
