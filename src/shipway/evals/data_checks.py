"""What is wrong with a dataset beyond its syntax; `shipway dataset check` and the pipeline's data stage call this.

Every rule that ran and found nothing is a PASS; what needs something that is not there (a version before, documents) is
NO_DATA and counts for nothing. A warning is a PASS whose details say `"level": "warning"`.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from shipway import __version__
from shipway.config.sections.datasets import DatasetChecks
from shipway.core.counting import counted
from shipway.core.findings import Finding, FindingReport
from shipway.core.verdicts import Verdict, combined
from shipway.evals.data_duplicates import Pair, duplicates, near_duplicates
from shipway.evals.data_leakage import CaseRuns, CheckSources
from shipway.evals.data_shift import FEWEST_CASES, Look, shifts
from shipway.evals.dataset import DatasetFile
from shipway.evals.model import Case, Dataset
from shipway.evals.ports import PiiFinder

SUITE = "dataset"
WARNING = "warning"
RULES = (
    *("schema", "size", "unanswerable-quota", "null", "nothing-to-judge", "duplicate", "near-duplicate", "split"),
    *("cluster-size", "leakage-prompt", "leakage-few-shot", "leakage-corpus-question", "pii"),
    *("length-shift", "language-shift", "topic-shift"),
)

_PLACEHOLDERS = frozenset(
    {
        "n/a",
        "na",
        "nan",
        "null",
        "none",
        "nil",
        "tbd",
        "todo",
        "fixme",
        "xxx",
        "?",
        "??",
        "???",
        "-",
        "--",
        "...",
        "#n/a",
    }
)
_LARGEST_CLUSTER = 0.25
_FEWEST_CLUSTERS = 11
_VERBATIM = 1.0
_SHOWN = 3


@dataclass(frozen=True, slots=True)
class Previous:
    """The version to compare with, and what that takes."""

    dataset: Dataset
    name: str
    look: Look


@dataclass(frozen=True, slots=True)
class CheckParts:
    """What a check looks at beside the cases; what is None is not looked at."""

    sources: CheckSources | None = None
    previous: Previous | None = None
    pii: PiiFinder | None = None
    unreadable: Mapping[str, str] = field(default_factory=dict)
    """Documents that could not be read, and why."""


def check_dataset(found: DatasetFile, settings: DatasetChecks, parts: CheckParts) -> FindingReport:
    """Return what every rule found, with the line of each case."""
    cases = found.dataset.cases
    said: list[Finding] = [
        *_sizes(cases, settings),
        *_nulls(cases),
        *_duplicates(cases, settings),
        *_clusters(cases),
        *_leaks(cases, settings, parts),
        *_personal_data(cases, settings, parts.pii),
        *_shifts(found.dataset, settings, parts.previous),
    ]
    placed = [replace(item, location=found.place(item.case_id) if item.case_id else found.file) for item in said]
    spoken = {item.name for item in placed}
    silent = [_finding(rule, Verdict.PASS) for rule in RULES if rule not in spoken]
    return FindingReport(SUITE, __version__, (*placed, *silent))


def verdict_of(report: FindingReport) -> Verdict:
    """Return the verdict of what was looked at: a rule that had nothing to look at blocks nothing."""
    if report.problems:
        return Verdict.ERROR
    return combined(finding.verdict for finding in report.findings if finding.verdict is not Verdict.NO_DATA)


def warnings_of(report: FindingReport) -> list[Finding]:
    """Return the findings that are worth knowing and fail nothing."""
    return [finding for finding in report.findings if finding.details.get("level") == WARNING]


def _finding(rule: str, verdict: Verdict, message: str = "", case_id: str = "", **details: Any) -> Finding:
    return Finding(SUITE, rule, verdict, message=message, case_id=case_id, rule=f"{SUITE}/{rule}", details=details)


def _fail(rule: str, message: str, case_id: str = "", **details: Any) -> Finding:
    return _finding(rule, Verdict.FAIL, message, case_id, **details)


def _warn(rule: str, message: str, case_id: str = "", **details: Any) -> Finding:
    return _finding(rule, Verdict.PASS, message, case_id, level=WARNING, **details)


def _skipped(rule: str, reason: str) -> Finding:
    return _finding(rule, Verdict.NO_DATA, reason)


def _sizes(cases: tuple[Case, ...], settings: DatasetChecks) -> Iterator[Finding]:
    if len(cases) < settings.min_cases:
        yield _fail("size", f"{len(cases)} cases; checks.min_cases asks for {settings.min_cases}")
    declining = sum(case.unanswerable for case in cases)
    if declining < settings.min_unanswerable:
        text = f"{declining} unanswerable cases; checks.min_unanswerable asks for {settings.min_unanswerable}"
        yield _fail("unanswerable-quota", text)


def _nulls(cases: Iterable[Case]) -> Iterator[Finding]:
    for case in cases:
        for name, text in (("question", case.question), ("reference", case.reference)):
            if text is not None and (
                text.strip().casefold() in _PLACEHOLDERS or (name == "reference" and not text.strip())
            ):
                yield _fail("null", f"{name}: {text!r} stands for nothing; write it or remove it", case.id, field=name)
        expected = (case.must_contain, case.must_not_contain, case.expected_sources, case.assertions, case.reference)
        if not case.unanswerable and not any(expected):
            text = "says nothing about a right answer: no reference, terms, sources or assertions"
            yield _warn("nothing-to-judge", text, case.id)


def _duplicates(cases: tuple[Case, ...], settings: DatasetChecks) -> Iterator[Finding]:
    for pair in duplicates(cases):
        same = _expectation(pair.first) == _expectation(pair.second)
        what = "asks the same as" if same else "asks the same as, but expects something else than,"
        yield _fail("duplicate", f"{what} {pair.first.id!r}; keep one{_across(pair)}", pair.second.id, **_about(pair))
    for pair in near_duplicates(cases, settings.near_duplicate):
        about = f"shares {pair.shared:.0%} of its wording with {pair.first.id!r}"
        if pair.first.split != pair.second.split or pair.first.cluster_name != pair.second.cluster_name:
            hint = _across(pair) or ", which counts as independent of it; give both the same cluster, or reword one"
            yield _fail("near-duplicate", about + hint, pair.second.id, **_about(pair))
        else:
            yield _warn("near-duplicate", f"{about} (in the same cluster)", pair.second.id, **_about(pair))


def _expectation(case: Case) -> dict[str, Any]:
    left_out = {"id", "question", "cluster", "split", "tags", "metadata", "reference"}
    return {name: value for name, value in case.to_dict().items() if name not in left_out}


def _across(pair: Pair) -> str:
    if pair.first.split == pair.second.split:
        return ""
    return f", which is of split {pair.first.split!r}: what tunes must not judge"


def _about(pair: Pair) -> dict[str, Any]:
    return {"other": pair.first.id, "shared": round(pair.shared, 3)}


def _clusters(cases: Iterable[Case]) -> Iterator[Finding]:
    judged = [case for case in cases if case.split == "test"]
    sizes = Counter(case.cluster_name for case in judged)
    splits: dict[str, set[str]] = defaultdict(set)
    for case in cases:
        splits[case.cluster_name].add(case.split)
    both = sorted(name for name, found in splits.items() if len(found) > 1)
    if both:
        more = f" and {len(both) - _SHOWN} more" if len(both) > _SHOWN else ""
        shown = ", ".join(both[:_SHOWN]) + more
        yield _warn(
            "split",
            f"{counted(len(both), 'cluster')} with cases of both splits ({shown});"
            " `shipway dataset split` keeps them whole",
        )
    if not judged:
        return
    name, most = sizes.most_common(1)[0]
    if most > _LARGEST_CLUSTER * len(judged) and most > 1:
        text = f"the cluster {name!r} holds {most} of {len(judged)} test cases, which fail and pass together"
        yield _warn("cluster-size", text, cluster=name, cases=most)
    elif len(sizes) < _FEWEST_CLUSTERS:
        text = f"{counted(len(sizes), 'cluster')} of test cases; below {_FEWEST_CLUSTERS} no paired gate can pass"
        yield _warn("cluster-size", text, clusters=len(sizes))


def _leaks(cases: tuple[Case, ...], settings: DatasetChecks, parts: CheckParts) -> Iterator[Finding]:
    if parts.sources is None:
        for rule in ("leakage-prompt", "leakage-few-shot", "leakage-corpus-question"):
            yield _skipped(rule, "no project whose prompts and documents could be compared")
        return
    sources = parts.sources
    runs = CaseRuns(cases, ("question", "reference"))
    shown = [("leakage-prompt", name, text) for name, text in sources.prompts.items()]
    shown += [("leakage-few-shot", name, text) for name, texts in sources.few_shots.items() for text in texts]
    for rule, name, text in shown:
        for leak in runs.leaks(name, text, settings.leakage):
            message = f"{leak.part}: {leak.share:.0%} of its wording stands in {name}; the model is told it there"
            yield _fail(rule, message, leak.case.id, source=name, part=leak.part, share=round(leak.share, 3))
    yield from _corpus_leaks(cases, settings, sources)
    for path, reason in parts.unreadable.items():
        yield _finding("leakage-corpus-question", Verdict.ERROR, f"{path}: {reason}")


def _corpus_leaks(cases: tuple[Case, ...], settings: DatasetChecks, sources: CheckSources) -> Iterator[Finding]:
    rule = "leakage-corpus-question"
    if settings.corpus_leakage == "off":
        yield _skipped(rule, "checks.corpus_leakage is off")
        return
    tell: Callable[..., Finding] = _fail if settings.corpus_leakage == "fail" else _warn
    questions = CaseRuns(cases, ("question",))
    for path, text in sources.documents:
        for leak in questions.leaks(path, text, _VERBATIM):
            message = (
                f"question: stands word for word in {path}, so finding it there proves little; ask as a user would"
            )
            yield tell(rule, message, leak.case.id, source=path)


def _personal_data(cases: Iterable[Case], settings: DatasetChecks, finder: PiiFinder | None) -> Iterator[Finding]:
    if settings.pii == "off" or finder is None:
        yield _skipped("pii", "checks.pii is off" if settings.pii == "off" else "nothing that finds it")
        return
    tell: Callable[..., Finding] = _fail if settings.pii == "fail" else _warn
    for case in cases:
        for name, text in _texts(case):
            # The finding itself is not repeated: this ends in terminals and CI logs.
            for kind in sorted({hit.kind for hit in finder.find(text)}):
                yield tell(
                    "pii", f"{name}: holds what looks like personal data ({kind})", case.id, field=name, kind=kind
                )


def _texts(case: Case) -> Iterator[tuple[str, str]]:
    for name, value in case.to_dict().items():
        if name not in {"id", "tenant", "groups", "expected_sources", "tags", "cluster", "split", "unanswerable"}:
            yield from ((name, text) for text in _leaves(value))


def _leaves(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _leaves(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _leaves(item)


def _shifts(dataset: Dataset, settings: DatasetChecks, previous: Previous | None) -> Iterator[Finding]:
    rules = ("length-shift", "language-shift", "topic-shift")
    reason = ""
    if previous is None:
        reason = "no version to compare with; `shipway dataset register` makes the first one"
    elif min(len(dataset.cases), len(previous.dataset.cases)) < FEWEST_CASES:
        reason = f"fewer than {FEWEST_CASES} cases on a side, which tell no difference from chance"
    elif previous.dataset.digest == dataset.digest:
        reason = f"the cases are those of {previous.name}"
    if previous is None or reason:
        yield from (_skipped(rule, reason) for rule in rules)
        return
    if previous.look.vectors is None:
        yield _skipped("topic-shift", "no embedding model to compare topics with")
    for shift in shifts(previous.dataset.cases, dataset.cases, previous.look, alpha=settings.shift_p):
        if shift.p <= settings.shift_p:
            text = f"another {shift.name} than in {previous.name}: {shift.text} (p = {shift.p:.2g})"
            yield _fail(f"{shift.name}-shift", text, p=shift.p)
