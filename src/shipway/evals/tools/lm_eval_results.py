"""The result files of lm-eval: `results_*.json` and, from `--log_samples`, `samples_TASK_*.jsonl` beside it.

The results alone are means over a task, of which no gate can tell chance from change: the samples are demanded. lm-eval
computes a metric once over a document's repeats, so that each repeat is a run of its own. Source: lm_eval 0.4.13.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from shipway.core.errors import DocumentError
from shipway.core.findings import Finding, FindingReport
from shipway.core.verdicts import Verdict
from shipway.evals.tools.reading import (
    items,
    json_lines,
    json_object,
    mapping,
    no_results,
    other_version,
    short,
    whole,
)
from shipway.evals.tools.scored import THRESHOLD, Place

TOOL = "lm_eval"
_SHOWN = "lm-eval"
_READ = "0.4."
_PLAIN = "none"


def parse(
    data: bytes,
    file: str = "results.json",
    samples: Mapping[str, bytes] | None = None,
    *,
    repeat: int = 0,
    threshold: float = THRESHOLD,
) -> FindingReport:
    """Return a finding for each document and metric; `samples` are the files of samples by name.

    A metric under a filter of its own is `METRIC_FILTER`. Cases carry the id of their document where it has one, and
    the task as tag and, with several tasks, before the id. Metrics that are over the whole task have no finding.

    Raises:
        DocumentError: a file is no result of lm-eval, is cut off, of another version, or no samples are there.
    """
    root = json_object(data, file, _SHOWN)
    counts = root.get("n-samples")
    if not isinstance(root.get("results"), dict) or not isinstance(counts, dict):
        raise no_results(file, _SHOWN, "results and n-samples")
    version = short(root.get("lm_eval_version"))
    if not version.startswith(_READ):
        raise other_version(file, _SHOWN, version, f"{_READ}x")
    if not samples:
        raise DocumentError(
            file, "has no samples beside it, and means alone cannot be judged", hint="run lm-eval with --log_samples"
        )
    findings: list[Finding] = []
    problems: list[str] = []
    for task, count in counts.items():
        rows = _rows(task, samples)
        wanted = whole(mapping(count).get("effective"))
        documents = {short(row.get("doc_id")) for row in rows}
        if wanted is not None and len(documents) != wanted:
            problems.append(f"task {short(task)}: lm-eval counted {wanted} documents and wrote {len(documents)}")
        more = mapping(mapping(root.get("higher_is_better")).get(task))
        filters = {short(row.get("filter")) for row in rows}
        for row in rows:
            place = _place(short(task), row, repeat, several=len(counts) > 1)
            findings += _findings(row, place, more, threshold=threshold, one=len(filters) == 1)
    if not findings:
        problems.append("lm-eval scored no document by itself; use a metric of single documents, such as exact_match")
    return FindingReport(TOOL, version, tuple(findings), tuple(problems))


def _rows(task: str, samples: Mapping[str, bytes]) -> list[dict[str, Any]]:
    found = [name for name in samples if name.rpartition("/")[2].startswith(f"samples_{task}_")]
    # The names of tasks may begin alike: `qa` and `qa_hard`. A date has no letter but T.
    exact = [name for name in found if name.rpartition(f"samples_{task}_")[2][:2].isdigit()]
    return [row for name in exact for row in json_lines(samples[name], name, _SHOWN)]


def _place(task: str, row: Mapping[str, Any], repeat: int, *, several: bool) -> Place:
    document = mapping(row.get("doc"))
    own = short(document.get("id")) or short(row.get("doc_id")) or "unnamed"
    asked = next((short(document[key]) for key in ("question", "query", "input", "prompt") if key in document), "")
    said = items(row.get("filtered_resps"))
    answer = short(said[0]) if said else ""
    return Place(
        TOOL,
        f"{task}/{own}" if several else own,
        repeat,
        question=asked,
        tags=(task,),
        details={"answer": answer} if answer else {},
    )


def _findings(
    row: Mapping[str, Any], place: Place, more: Mapping[str, Any], *, threshold: float, one: bool
) -> Iterator[Finding]:
    used = short(row.get("filter")) or _PLAIN
    for name in dict.fromkeys(map(short, items(row.get("metrics")))):
        value = row.get(name)
        if isinstance(value, (list, dict)):
            # Parts of a metric over the whole task: bleu, chrf, perplexity.
            continue
        metric = name if one or used == _PLAIN else f"{name}_{used}"
        if not items(row.get("resps")):
            yield place.finding(Verdict.ERROR, metric, message="the target gave no answer")
        else:
            yield place.measured(metric, value, threshold=threshold, higher=more.get(name) is not False)
