"""Runs as the store keeps them, written piece by piece: a hundred thousand answers need not be in memory at once."""

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import orjson

from shipway.evals.attempt_lines import output_body
from shipway.evals.model import CaseResult, RunReport
from shipway.evals.run_directory import StoredResults

_MOST_BYTES = 64_000_000
"""Answers beyond this stay in the run directory; the store keeps the scores."""


def run_bytes(candidate: RunReport, baseline: RunReport | None, directory: Path | None) -> bytes:
    """Return `{"candidate": RUN, "baseline": RUN}`."""
    size = sum(path.stat().st_size for path in directory.glob("attempts-*.jsonl")) if directory is not None else 0
    elsewhere = str(directory) if size > _MOST_BYTES else ""
    parts = [b'{"candidate":', *_run(candidate, elsewhere)]
    if baseline is not None:
        parts += [b',"baseline":', *_run(baseline, elsewhere)]
    return b"".join([*parts, b"}"])


def _run(run: RunReport, elsewhere: str) -> Iterator[bytes]:
    head = {
        "target": run.target,
        "target_digest": run.target_digest,
        "dataset": run.dataset.name,
        "repeats": run.repeats,
        "binding": asdict(run.binding),
    }
    yield orjson.dumps(head)[:-1] + b',"results":['
    without = elsewhere and isinstance(run.results, StoredResults)
    results = run.results.scores() if without and isinstance(run.results, StoredResults) else iter(run.results)
    for place, result in enumerate(results):
        yield (b"," if place else b"") + orjson.dumps(_result(result, elsewhere))
    yield b"]}"


def _result(result: CaseResult, elsewhere: str) -> dict[str, Any]:
    output = {"answer": "", "error": f"the answer is in {elsewhere}"} if elsewhere else output_body(result.output)
    return {
        "case": result.case_id,
        "repeat": result.repeat,
        "scores": result.scores,
        "errors": result.errors,
        "output": output,
    }
