"""Cobertura XML, as coverage.py writes it: how much of the code was run. Source: the Cobertura DTD, `coverage xml`."""

import math
from dataclasses import dataclass
from xml.etree import ElementTree as ET

from shipway.pipeline.tools.junit_xml import document
from shipway.pipeline.tools.model import UnreadableOutputError


@dataclass(frozen=True, slots=True)
class Coverage:
    """What was run, in percent; `branches_percent` is None where branches were not looked at."""

    lines_percent: float
    branches_percent: float | None
    files: tuple[tuple[str, float], ...]
    """Each file with its lines in percent, the least first."""


def read_cobertura(data: bytes) -> Coverage:
    """Return what a coverage file says.

    Raises:
        UnreadableOutputError: it is no such file.
    """
    root = document(data, "coverage")
    if root.tag != "coverage":
        raise UnreadableOutputError(f"the coverage file begins with {root.tag!r}, not with coverage")
    files = sorted(
        ((str(item.get("filename")), _percent(item, "line-rate")) for item in root.iter("class")),
        key=lambda item: (item[1], item[0]),
    )
    branches = _percent(root, "branch-rate") if root.get("branches-valid", "0") not in {"", "0"} else None
    return Coverage(_percent(root, "line-rate"), branches, tuple(files))


def _percent(element: ET.Element, name: str) -> float:
    try:
        rate = float(element.get(name, ""))
    except ValueError:
        rate = math.nan
    if not 0.0 <= rate <= 1.0:
        raise UnreadableOutputError(f"the coverage file has {name} {element.get(name)!r}, which is no share")
    return round(rate * 100, 2)
