"""The log of an Inspect evaluation: `inspect eval --log-format json`. Source: inspect_ai 0.3.285, log version 2.

Inspect ends with exit code 0 whatever the accuracy, and leaves samples with an error out of it; here they are ERRORs.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from shipway.core.findings import Finding, FindingReport
from shipway.core.verdicts import Verdict
from shipway.evals.tools.reading import (
    items,
    json_object,
    mapping,
    no_results,
    number,
    other_version,
    short,
    slug,
    whole,
)
from shipway.evals.tools.scored import THRESHOLD, Place

TOOL = "inspect"
_VERSION = 2
_GRADES: Mapping[str, float] = {
    "C": 1.0,
    "P": 0.5,
    "I": 0.0,
    "N": 0.0,
    "yes": 1.0,
    "true": 1.0,
    "no": 0.0,
    "false": 0.0,
}
"""What grades count, as Inspect's own `value_to_float` has it: correct, partly, incorrect, no answer."""


def parse(data: bytes, file: str = "log.json", *, threshold: float = THRESHOLD) -> FindingReport:
    """Return a finding for each sample, epoch and scorer; a score of several values has one for each.

    Raises:
        DocumentError: the file is no log of Inspect, is cut off, or of another version.
    """
    root = json_object(data, file, TOOL)
    if "eval" not in root or "status" not in root:
        raise no_results(file, TOOL, "eval and status")
    if root.get("version") != _VERSION:
        raise other_version(file, TOOL, root.get("version"), f"version {_VERSION}")
    samples = [mapping(item) for item in items(root.get("samples"))]
    findings = [item for sample in samples for item in _findings(sample, _scorers(root, samples), threshold)]
    version = short(mapping(mapping(root["eval"]).get("packages")).get("inspect_ai"))
    return FindingReport(TOOL, version, tuple(findings), tuple(_problems(root, samples)))


def _problems(root: Mapping[str, Any], samples: list[Mapping[str, Any]]) -> Iterator[str]:
    status = short(root.get("status"))
    if status != "success":
        said = short(mapping(root.get("error")).get("message"))
        yield f"Inspect ended with status {status or 'none'}" + (f": {said}" if said else "")
    wanted = whole(mapping(root.get("results")).get("total_samples"))
    if not samples:
        yield "the log has no samples; run Inspect without --no-log-samples"
    elif wanted is not None and wanted != len(samples):
        yield f"Inspect counted {wanted} samples and wrote {len(samples)}"


def _scorers(root: Mapping[str, Any], samples: list[Mapping[str, Any]]) -> list[str]:
    scored = items(mapping(root.get("results")).get("scores"))
    names = [short(mapping(item).get("scorer")) for item in scored]
    names += [short(name) for sample in samples for name in mapping(sample.get("scores"))]
    return list(dict.fromkeys(name for name in names if name))


def _findings(sample: Mapping[str, Any], scorers: list[str], threshold: float) -> Iterator[Finding]:
    asked, kept = sample.get("input"), mapping(sample.get("metadata"))
    answer = short(mapping(sample.get("output")).get("completion"))
    spent = number(sample.get("total_time"))
    place = Place(
        TOOL,
        short(kept.get("id")) or short(sample.get("id")) or "unnamed",
        max((whole(sample.get("epoch")) or 1) - 1, 0),
        question=short(asked) if isinstance(asked, str) else _last_turn(asked),
        duration_ms=None if spent is None else spent * 1000,
        details={"answer": answer} if answer else {},
    )
    failed = short(mapping(sample.get("error")).get("message"))
    scores = mapping(sample.get("scores"))
    for name in scorers or ["score"]:
        score = mapping(scores.get(name))
        if failed or name not in scores:
            yield place.finding(Verdict.ERROR, slug(name), message=failed or "Inspect left it without a score")
            continue
        value, why = score.get("value"), short(score.get("explanation"))
        parts = value if isinstance(value, dict) else {"": value}
        for part, found in parts.items():
            metric = slug(name) + (f"_{slug(part)}" if part else "")
            yield place.measured(metric, _value(found), threshold=threshold, why=why)


def _value(value: Any) -> Any:
    return _GRADES.get(value, _numeral(value)) if isinstance(value, str) else value


def _numeral(value: str) -> Any:
    try:
        return float(value)
    except ValueError:
        return value


def _last_turn(turns: Any) -> str:
    said = [short(mapping(turn).get("content")) for turn in items(turns) if mapping(turn).get("role") == "user"]
    return said[-1] if said else ""
