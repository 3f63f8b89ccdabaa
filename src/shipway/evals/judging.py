"""Having all answers of a run judged; the evaluation service calls `judge_attempts` between the runner and scoring.

A judgement that cannot be had is a missing score with its reason. A judge that answers nobody is asked a few times, not
a thousand.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import anyio

from shipway.config.credentials import repeatable
from shipway.core.errors import DeadlineError, ShipwayError, UnavailableError, UpstreamError
from shipway.core.ids import Digest
from shipway.evals.assertions import is_refusal
from shipway.evals.judge_prompts import evidence_of
from shipway.evals.judgement import Judgement, JudgeRequest, Task
from shipway.evals.model import Attempt, Case, Dataset, Output
from shipway.evals.ports import Judge

_GIVE_UP_AFTER = 5
_RUBRIC_TYPES = frozenset({"llm-rubric", "not-llm-rubric"})
Place = tuple[str, int, Task]
"""Case, repeat and what was asked."""


@dataclass(frozen=True, slots=True)
class Judged:
    """One line of a target's judgements: an opinion, or why there is none."""

    case_id: str
    repeat: int
    task: Task
    judge: Digest
    judgement: Judgement | None
    error: str = ""


class JudgementSink(Protocol):
    """Gets every judgement of one target at once; what it took survives kill -9."""

    def write(self, judged: Judged) -> None:
        """Keep one judgement."""
        ...

    def kept(self, judge: Digest) -> Iterable[Judged]:
        """Return the judgements by this judge that need not be asked for again; errors are not among them."""
        ...


@dataclass(frozen=True, slots=True)
class Judgements:
    """The opinions on a run's answers."""

    found: Mapping[Place, Judgement] = field(hash=False)
    missing: Mapping[Place, str] = field(hash=False)
    tasks: tuple[Task, ...] = ()

    def context_for(self, case_id: str, repeat: int) -> tuple[Mapping[Task, Judgement], Mapping[Task, str]]:
        """Return the judgements of one answer, and why others are missing; metrics get both."""
        places = {task: (case_id, repeat, task) for task in self.tasks}
        return (
            {task: self.found[place] for task, place in places.items() if place in self.found},
            {task: self.missing[place] for task, place in places.items() if place in self.missing},
        )

    @property
    def cost_usd(self) -> float | None:
        """The price of all judgements; None when one of them names none."""
        costs = [judgement.cost_usd for judgement in self.found.values() if judgement.tokens_out]
        return None if None in costs else sum(cost for cost in costs if cost is not None)


@dataclass(slots=True)
class _Silence:
    """How often in a row, from the first request on, nobody was there."""

    unreachable: int = 0
    answered: bool = False
    said: str = ""

    def note(self, error: Exception | None) -> None:
        # An error that was answered and a late answer show that somebody is there.
        if isinstance(error, UnavailableError) and not isinstance(error, DeadlineError | UpstreamError):
            self.unreachable += 1
            self.said = self.said or error.message
        else:
            self.answered = True

    @property
    def reason(self) -> str:
        if self.answered or self.unreachable < _GIVE_UP_AFTER:
            return ""
        return f"not asked: the judge answered none of the first {self.unreachable} requests: {self.said}"


async def judge_attempts(
    attempts: Iterable[Attempt],
    dataset: Dataset,
    judge: Judge,
    tasks: Collection[Task],
    *,
    sink: JudgementSink | None = None,
    concurrency: int = 4,
) -> Judgements:
    """Have every answer judged for every task that applies to it; failed answers are left to scoring."""
    cases = {case.id: case for case in dataset.cases}
    wanted = tuple(sorted(tasks))
    kept = list(sink.kept(judge.identity.digest)) if sink else []
    found: dict[Place, Judgement] = {
        (item.case_id, item.repeat, item.task): item.judgement for item in kept if item.judgement is not None
    }
    missing: dict[Place, str] = {}
    places: list[Place] = []
    requests: list[JudgeRequest] = []
    for attempt in attempts:
        for task in wanted if attempt.output.error is None else ():
            place = (attempt.case_id, attempt.repeat, task)
            request = request_for(task, cases[attempt.case_id], attempt.output)
            if place not in found:
                settled = without_asking(request)
                if isinstance(settled, Judgement):
                    found[place] = settled
                elif settled:
                    missing[place] = settled
                else:
                    places.append(place)
                    requests.append(request)

    def done(index: int, result: Judgement | str) -> None:
        place = places[index]
        if isinstance(result, Judgement):
            found[place] = result
        else:
            missing[place] = result
        if sink is not None:
            sink.write(_judged(place, judge.identity.digest, result))

    repeats = [repeat for _, repeat, _ in places]
    await judge_requests(judge, requests, repeats=repeats, concurrency=concurrency, done=done)
    return Judgements(found, missing, wanted)


async def judge_requests(
    judge: Judge,
    requests: Sequence[JudgeRequest],
    *,
    repeats: Sequence[int] = (),
    concurrency: int = 4,
    done: Callable[[int, Judgement | str], None] = lambda _index, _result: None,
) -> list[Judgement | str]:
    """Ask for many judgements; a text in place of one says why there is none. `done` hears of each as it comes."""
    results: list[Judgement | str] = [""] * len(requests)
    silence = _Silence()

    async def work(pending: Iterator[int]) -> None:
        for index in pending:
            repeat = repeats[index] if repeats else 0
            results[index] = silence.reason or await _ask(judge, requests[index], repeat, silence)
            done(index, results[index])

    pending = iter(range(len(requests)))
    async with anyio.create_task_group() as group:
        for _ in range(min(concurrency, len(requests))):
            group.start_soon(work, pending)
    return results


def request_for(task: Task, case: Case, output: Output) -> JudgeRequest:
    """Return what a judge is asked; a case's own rubrics stand in its `assert` list."""
    rubric = "\n".join(f"- {text}" for text in _rubrics(case.assertions)) if task == "rubric" else ""
    return JudgeRequest(task, case, output, rubric)


def without_asking(request: JudgeRequest) -> Judgement | str:
    """Return what needs no judge: "not applicable" as a judgement, a missing input as its reason, else ""."""
    task, case, output = request.task, request.case, request.output
    silent, declined = not output.answer.strip(), is_refusal(output)
    if task == "abstention":
        return _abstention(request) if silent or declined else ""
    if task == "completeness" and (case.unanswerable or not (case.reference or "").strip()):
        return Judgement(task, None, "the case has no answer to compare with")
    if task == "citation" and not output.citations:
        return Judgement(task, None, "nothing is cited")
    if task in {"faithfulness", "relevance", "citation"} and (silent or declined):
        return Judgement(task, None, "the answer claims nothing")
    if task in {"faithfulness", "citation"} and not evidence_of(case, output):
        return f"{task}: neither the target nor the case gives passages to judge the answer against"
    return ""


def _abstention(request: JudgeRequest) -> Judgement:
    right = request.case.unanswerable
    return Judgement("abstention", float(right), "declined " + ("rightly" if right else "an answerable question"))


async def _ask(judge: Judge, request: JudgeRequest, repeat: int, silence: _Silence) -> Judgement | str:
    try:
        found = await judge.judge(request, repeat=repeat)
    except ShipwayError as error:
        silence.note(error)
        return repeatable(error.message)
    # A judge is foreign code: its failure is one missing score.
    except Exception as error:  # noqa: BLE001
        silence.note(None)
        return f"{type(error).__name__}: {repeatable(str(error))}"
    silence.note(None)
    return found


def _rubrics(entries: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    for entry in entries:
        if entry.get("type") in _RUBRIC_TYPES and isinstance(entry.get("value"), str):
            yield entry["value"]
        inner = entry.get("assert")
        if isinstance(inner, list):
            yield from _rubrics(item for item in inner if isinstance(item, Mapping))


def _judged(place: Place, judge: Digest, result: Judgement | str) -> Judged:
    case_id, repeat, task = place
    if isinstance(result, Judgement):
        return Judged(case_id, repeat, task, judge, result)
    return Judged(case_id, repeat, task, judge, None, result)
