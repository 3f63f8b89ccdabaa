"""What every benchmark writes: a table, and `results/NAME.json` with a flat `summary`, versions and machine."""

import json
import os
import platform
import sys
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path

RESULTS = Path(__file__).parent / "results"


def machine() -> dict[str, object]:
    """Return what ran this: processor count and kind, kernel, Python."""
    model = next(
        (line.split(":", 1)[1].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")),
        platform.processor(),
    )
    return {"cpus": os.cpu_count(), "cpu": model, "kernel": platform.release(), "python": sys.version.split()[0]}


def write(
    name: str,
    summary: dict[str, float],
    details: object,
    packages: tuple[str, ...],
    *,
    also: Mapping[str, str] | None = None,
) -> Path:
    """Write a result file and return its path; `also` are versions of what is no package of this environment."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    versions = {**{package: _version(package) for package in packages}, **(also or {})}
    document = {"name": name, "summary": summary, "machine": machine(), "versions": versions, "details": details}
    path.write_text(json.dumps(document, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    return path


def show(summary: dict[str, float]) -> None:
    """Print the summary as a table."""
    width = max((len(name) for name in summary), default=0)
    for name, value in summary.items():
        print(f"{name:<{width}}  {value:.4g}")


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:  # run from its source tree
        return "not installed"


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
