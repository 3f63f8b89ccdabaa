"""What other programs wrote, taken for nothing but data; the parsers of this package read with it.

A file that is not what it claims to be raises `DocumentError`, whatever its bytes. Single values of another type than
expected count as absent: the score that needs them is then missing, which gates count.
"""

import json
import math
import re
from collections.abc import Mapping
from typing import Any

from shipway.config.credentials import repeatable
from shipway.core.errors import DocumentError
from shipway.core.nesting import TOO_DEEP, too_deep

_NO_WORD = re.compile(r"[^0-9a-z]+")
_LONGEST_TEXT = 2_000


def json_object(data: bytes, file: str, tool: str) -> dict[str, Any]:
    """Return the object that a file holds.

    Raises:
        DocumentError: it is empty, cut off, not JSON or not an object.
    """
    value = json_value(data, file, tool)
    if not isinstance(value, dict):
        raise DocumentError(
            file, f"holds a {_kind(value)}, not the object that {tool} writes", hint=f"give the results of {tool}"
        )
    return value


def json_value(data: bytes, file: str, tool: str) -> Any:
    """Return the JSON value that a file holds.

    Raises:
        DocumentError: it is empty, cut off or not JSON.
    """
    if not data.strip():
        raise DocumentError(file, "is empty", hint=f"{tool} wrote no results; look at what it printed")
    try:
        value = json.loads(data.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise DocumentError(file, f"is not UTF-8 at byte {error.start}", hint=_wanted(data, tool)) from error
    except (ValueError, RecursionError) as error:
        said = "is nested too deeply" if isinstance(error, RecursionError) else f"is not JSON: {error}"
        hint = f"it may be cut off; run {tool} again, or give the file that it wrote last"
        raise DocumentError(file, said, hint=hint) from error
    if too_deep(value):
        raise DocumentError(file, TOO_DEEP)
    return value


def json_lines(data: bytes, file: str, tool: str) -> list[dict[str, Any]]:
    """Return the objects of a file that has one a line.

    Raises:
        DocumentError: a line holds no object.
    """
    rows: list[dict[str, Any]] = []
    for number, line in enumerate(data.split(b"\n"), start=1):
        if line.strip():
            rows.append(json_object(line, f"{file}:{number}", tool))
    return rows


def other_version(file: str, tool: str, found: Any, read: str) -> DocumentError:
    """Return the refusal of a file of a version that is not read."""
    return DocumentError(
        file,
        f"is written by {tool} in version {short(found) or 'none'} of its format; {read} is read",
        hint=f"run it in the environment of `shipway eval tool install {tool}`",
    )


def no_results(file: str, tool: str, lacking: str) -> DocumentError:
    """Return the refusal of JSON that is something else."""
    return DocumentError(file, f"has no {lacking}: this is no result file of {tool}", hint=f"give what {tool} wrote")


def mapping(value: Any) -> Mapping[str, Any]:
    """Return a mapping as it is, an empty one for anything else."""
    return value if isinstance(value, dict) else {}


def items(value: Any) -> list[Any]:
    """Return a list as it is, an empty one for anything else."""
    return value if isinstance(value, list) else []


def number(value: Any) -> float | None:
    """Return a finite number; None for anything else."""
    if not isinstance(value, (bool, int, float)):
        return None
    try:
        found = float(value)
    except OverflowError:
        return None
    return found if math.isfinite(found) else None


def whole(value: Any) -> int | None:
    """Return a whole number from 0 on; None for anything else."""
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def short(value: Any) -> str:
    """Return a text that can be shown on a line: whole characters, none that control, no credential, not endless."""
    text = value if isinstance(value, str) else "" if value is None or isinstance(value, (dict, list)) else str(value)
    text = text[:_LONGEST_TEXT].encode(errors="replace").decode()
    return repeatable("".join(character if character.isprintable() else " " for character in text).strip())


def slug(name: Any) -> str:
    """Return a metric's name as gates write it: `Answer Relevancy` is `answer_relevancy`."""
    return _NO_WORD.sub("_", short(name).lower()).strip("_")


def _kind(value: Any) -> str:
    return {list: "list", str: "text", type(None): "null"}.get(type(value), "number")


def _wanted(data: bytes, tool: str) -> str:
    if data[:2] == b"PK":
        return "it is an archive; for Inspect, run with `--log-format json` or `inspect log convert --to json`"
    return f"give the JSON that {tool} wrote"
