"""Files that the real tools wrote, of three cases of our own; without their logs of single steps."""

import json
from pathlib import Path
from typing import Any

from shipway.core.findings import FindingReport

_DATA = Path(__file__).parent / "data"


def recorded(name: str) -> bytes:
    return (_DATA / name).read_bytes()


def changed(name: str, change: Any) -> bytes:
    value = json.loads(recorded(name))
    change(value)
    return json.dumps(value).encode()


def verdicts(report: FindingReport, metric: str = "") -> dict[tuple[str, int], str]:
    return {(item.case_id, item.repeat): item.verdict.value for item in report.findings if item.metric == metric}
