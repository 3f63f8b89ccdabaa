"""What people say of answers: the files of labels and of anchors; labelling writes them, calibration reads them.

One JSON object a line. A label is 1 (yes), 0 (no) or null (cannot tell). A row of the same case, answer, task and
person further down takes the place of the one above, so that labelling only ever appends. An anchor is a label with
what the judge said of it on the day of its calibration, and which judge that was.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, get_args

from shipway.core.errors import DatasetError
from shipway.core.ids import Digest
from shipway.evals.judgement import JudgeRequest, Task
from shipway.evals.judging import request_for
from shipway.evals.model import Case, Output
from shipway.evals.rows import read_jsonl
from shipway.evals.suggestions import did_you_mean

TASKS: tuple[Task, ...] = get_args(Task)
_FIELDS = ("case", "answer", "task", "label", "by", "at_s", "note", "passages", "citations")
_ANCHOR_FIELDS = ("judge_label", "judge_digest")
_TEXTS = frozenset({"case", "answer", "by", "note"})
_LISTS = frozenset({"passages", "citations"})


@dataclass(frozen=True, slots=True)
class Label:
    """One person's word on one answer."""

    case: str
    answer: str
    task: Task
    label: int | None
    by: str = ""
    at_s: float = 0.0
    note: str = ""
    passages: tuple[str, ...] = ()
    citations: tuple[str, ...] = ()

    def request(self, case: Case) -> JudgeRequest:
        """Return what a judge is asked about the same answer."""
        return request_for(self.task, case, Output(self.answer, passages=self.passages, citations=self.citations))

    def to_dict(self) -> dict[str, Any]:
        """Return the line of a file; what is empty is left out."""
        body: dict[str, Any] = {name: getattr(self, name) for name in _FIELDS}
        return {name: value for name, value in body.items() if value or name in _FIELDS[:4]}


@dataclass(frozen=True, slots=True)
class Anchor:
    """A label and what the judge said of the same answer when it was calibrated; None: it could not tell."""

    label: Label
    judge_label: int | None
    judge_digest: Digest

    def to_dict(self) -> dict[str, Any]:
        """Return the line of a file."""
        return {**self.label.to_dict(), "judge_label": self.judge_label, "judge_digest": self.judge_digest}


@dataclass(slots=True)
class _Reading:
    file: str
    cases: Mapping[str, Case]
    names: tuple[str, ...]
    problems: list[str] = field(default_factory=list)

    def wrong(self, line: int, name: str, text: str) -> None:
        self.problems.append(f"{self.file}:{line}: {name + ': ' if name else ''}{text}")


def parse_labels(data: bytes, file: str, cases: Mapping[str, Case]) -> list[Label]:
    """Return the labels of a file, the last of each case, answer, task and person.

    Raises:
        DatasetError: everything that is wrong with the file, each problem with its line.
    """
    rows = _rows(data, _Reading(file, cases, _FIELDS))
    labels = [_label(values) for _, values in rows]
    return list({(item.case, item.answer, item.task, item.by): item for item in labels}.values())


def parse_anchors(data: bytes, file: str, cases: Mapping[str, Case]) -> list[Anchor]:
    """Return the anchors of a file.

    Raises:
        DatasetError: everything that is wrong with the file, each problem with its line.
    """
    reading = _Reading(file, cases, (*_FIELDS, *_ANCHOR_FIELDS))
    rows = _rows(data, reading)
    return [Anchor(_label(values), values["judge_label"], Digest(values["judge_digest"])) for _, values in rows]


def lines(items: Iterable[Label | Anchor]) -> bytes:
    """Return the bytes of a file of labels or anchors."""
    return b"".join(json.dumps(item.to_dict(), ensure_ascii=False).encode() + b"\n" for item in items)


def _rows(data: bytes, reading: _Reading) -> list[tuple[int, dict[str, Any]]]:
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise DatasetError([f"{reading.file}:{line}: not UTF-8; save it as UTF-8"]) from error
    rows, unread = read_jsonl(text)
    for line, name, reason in unread:
        reading.wrong(line, name, reason)
    found = [(row.line, row.values) for row in rows]
    for line, values in found:
        _check(line, values, reading)
    if not found and not reading.problems:
        reading.wrong(1, "", "no labels; make some with `shipway judge label`")
    if reading.problems:
        raise DatasetError(reading.problems)
    return found


def _check(line: int, values: Mapping[str, Any], reading: _Reading) -> None:
    for name in values:
        if name not in reading.names:
            reading.wrong(line, name, f"unknown field; {did_you_mean(name, reading.names)}")
    for name in ("case", "answer", "task", "label", *reading.names[len(_FIELDS) :]):
        if name not in values:
            reading.wrong(line, name, "is missing")
    for name, value in values.items():
        reason = _why_wrong(name, value)
        if reason:
            reading.wrong(line, name, reason)
    case = values.get("case")
    if isinstance(case, str) and case not in reading.cases:
        reading.wrong(line, "case", f"{case!r} is not in the dataset; {did_you_mean(case, reading.cases)}")


def _why_wrong(name: str, value: Any) -> str:
    is_truth = isinstance(value, bool)
    wrong = {
        "task": (value not in TASKS, f"{value!r} is no task; there are {', '.join(TASKS)}"),
        "label": (is_truth or value not in (0, 1, None), f"{value!r} is no label; write 1 (yes), 0 (no) or null"),
        "at_s": (is_truth or not isinstance(value, int | float), f"{value!r} is not a time in seconds"),
        "judge_digest": (not str(value).startswith("sha256:"), f"{value!r} is no digest"),
        **dict.fromkeys(_TEXTS, (not isinstance(value, str), f"{value!r} is not a text")),
        **dict.fromkeys(_LISTS, (not _are_texts(value), "is not a list of texts")),
    }
    wrong["judge_label"] = wrong["label"]
    is_wrong, reason = wrong.get(name, (False, ""))
    return reason if is_wrong else ""


def _are_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


def _label(values: Mapping[str, Any]) -> Label:
    given = {name: values[name] for name in _FIELDS if name in values}
    for name in _LISTS & given.keys():
        given[name] = tuple(given[name])
    if given["label"] is not None:
        given["label"] = int(given["label"])
    return Label(**given)
