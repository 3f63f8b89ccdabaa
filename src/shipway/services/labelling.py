"""Labelling answers by a person: which are shown, in which order, and what a key does. `shipway judge label` draws it.

Nobody sees what a judge or a metric said of an answer before the own label is given. Every label is a line appended to
the file at once; what was undone is a line without a label, and is asked again.
"""

import json
import random
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from shipway.core.errors import UsageError
from shipway.core.ids import Digest
from shipway.evals.judge_prompts import blocks
from shipway.evals.judgement import Task
from shipway.evals.labels import Label
from shipway.evals.model import Case, Output
from shipway.services.application import Application
from shipway.services.evaluations import stored_run
from shipway.services.releases import verified_blob

Key = Literal["y", "n", "c", "s", "u", "q"]
KEYS: Mapping[str, str] = {
    "y": "yes",
    "n": "no",
    "c": "cannot tell",
    "s": "skip for now",
    "u": "undo",
    "q": "quit",
}
QUESTIONS: Mapping[Task, str] = {
    "faithfulness": "Is everything that the answer states in the passages, or does it follow from them?",
    "relevance": "Does the answer answer the question?",
    "completeness": "Does the answer say everything that the reference says?",
    "citation": "Do the cited passages say everything that the answer states?",
    "rubric": "Does the answer show what the rubric asks for?",
    "abstention": "Is it right that the answer declines, or that it does not?",
}
UNDONE = "undone"
_STRATA = 4
_LABELS: Mapping[str, int | None] = {"y": 1, "n": 0, "c": None}


@dataclass(frozen=True, slots=True)
class Item:
    """One answer to label; `score` only decides whether it is among those that are shown."""

    case: Case
    output: Output
    score: float | None = None


@dataclass(frozen=True, slots=True)
class Labelling:
    """Where a person is. A press of a key gives the next state and the line to append, if any."""

    items: tuple[Item, ...]
    task: Task
    by: str
    place: int = 0
    given: tuple[Label, ...] = ()
    places: tuple[int, ...] = ()
    finished: bool = False

    @property
    def current(self) -> Item | None:
        """The answer to show; None at the end."""
        return None if self.finished or self.place >= len(self.items) else self.items[self.place]

    def press(self, key: str, at_s: float, note: str = "") -> tuple["Labelling", Label | None]:
        """Return the state after a key and the label to append.

        Raises:
            UsageError: no such key, or nothing to undo.
        """
        item = self.current
        if key not in KEYS:
            known = ", ".join(f"{name} {meaning}" for name, meaning in KEYS.items())
            raise UsageError(f"{key!r} is no answer; there are {known}")
        if key == "u":
            return self._undone(at_s)
        if key == "q" or item is None:
            return replace(self, finished=True), None
        if key == "s":
            return replace(self, place=self.place + 1), None
        label = Label(
            item.case.id,
            item.output.answer,
            self.task,
            _LABELS[key],
            self.by,
            at_s,
            note,
            item.output.passages or item.case.context,
            item.output.citations,
        )
        given = (*self.given, label)
        return replace(self, place=self.place + 1, given=given, places=(*self.places, self.place)), label

    def _undone(self, at_s: float) -> tuple["Labelling", Label]:
        if not self.given:
            raise UsageError("there is nothing to undo")
        withdrawn = replace(self.given[-1], label=None, note=UNDONE, at_s=at_s)
        back = replace(self, place=self.places[-1], given=self.given[:-1], places=self.places[:-1])
        return back, withdrawn


def chosen(items: Sequence[Item], count: int, *, seed: int = 0) -> tuple[Item, ...]:
    """Draw answers evenly over the range of their scores, in an order that says nothing about them.

    Labels of good answers alone cannot tell whether a judge finds bad ones. The same seed draws the same.
    """
    rng = random.Random(seed)  # noqa: S311 - a draw that can be repeated, not a secret
    strata: dict[int, list[Item]] = {}
    for item in items:
        strata.setdefault(_stratum(item.score), []).append(item)
    for members in strata.values():
        rng.shuffle(members)
    drawn: list[Item] = []
    while len(drawn) < count and any(strata.values()):
        for name in sorted(strata):
            if strata[name] and len(drawn) < count:
                drawn.append(strata[name].pop())
    rng.shuffle(drawn)
    return tuple(drawn)


def open_items(items: Iterable[Item], labels: Iterable[Label], *, task: Task, by: str) -> list[Item]:
    """Return what a person has not labelled yet; the same answer to a case is shown once."""
    told = {(item.case, item.answer) for item in labels if (item.task, item.by) == (task, by) and item.note != UNDONE}
    found = {(item.case.id, item.output.answer): item for item in items}
    return [item for place, item in found.items() if place not in told]


def shown(item: Item, task: Task) -> list[str]:
    """Return the lines of an answer for a terminal, without characters that would steer it."""
    found = []
    for name, text in blocks(task, item.case, item.output):
        found += [f"{name.lower()}:", *(f"  {_plain(line)}" for line in text.splitlines() or [""])]
    return found


async def run_items(app: Application, release: str, cases: Mapping[str, Case], metric: str = "") -> list[Item]:
    """Return the answers of a release's newest evaluation; `metric` is the score they are drawn by.

    Raises:
        NotFoundError: it was never evaluated.
    """
    run = await stored_run(app, release)
    data = await verified_blob(app, Digest(run["runs"]), f"evaluation {run['id']}")
    results = json.loads(data)["candidate"]["results"]
    return [
        Item(cases[result["case"]], _output(result["output"]), result["scores"].get(metric))
        for result in results
        if result["case"] in cases and result["output"].get("error") is None
    ]


def tasks_without_passages(items: Collection[Item], task: Task) -> bool:
    """Tell whether a task needs passages that none of the answers has."""
    needs = task in {"faithfulness", "citation"}
    return needs and not any(item.output.passages or item.case.context for item in items)


def _output(told: Mapping[str, Any]) -> Output:
    return Output(
        answer=told["answer"], citations=tuple(told.get("citations", ())), passages=tuple(told.get("passages", ()))
    )


def _stratum(score: float | None) -> int:
    if score is None:
        return -1
    return min(_STRATA - 1, max(0, int(score * _STRATA)))


def _plain(line: str) -> str:
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in line)
