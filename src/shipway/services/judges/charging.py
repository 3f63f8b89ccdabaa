"""What judging the answers of an evaluation takes, before anything is asked; `evaluation_plan` asks here."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from shipway.config.sections.models import Price
from shipway.core.errors import UsageError
from shipway.evals.budget import Charge, Spent
from shipway.evals.judge_prompts import messages_for
from shipway.evals.judgement import JudgeRequest, Task
from shipway.evals.judging import request_for
from shipway.evals.model import Case, Output
from shipway.services.application import Application
from shipway.services.earlier_runs import judged_before
from shipway.services.judges.building import judge_identity, project_anchors, rubric_of
from shipway.services.judges.purse import judge_charge_name

_CHARS_PER_TOKEN = 3.6
_WITH_PASSAGES = frozenset({"faithfulness", "citation"})


@dataclass(frozen=True, slots=True)
class JudgeShare:
    """A judge's part of an evaluation: its name among the charges, what a call and what all calls take."""

    name: str
    charge: Charge
    spent: Spent
    basis: str


@dataclass(frozen=True, slots=True)
class Judged:
    """What is going to be judged: cases, how often each is answered, by whom, and for what."""

    dataset: str
    cases: Sequence[Case]
    repeats: int
    answers: Mapping[str, Charge]
    tasks: frozenset[Task]


async def judge_share(app: Application, judged: Judged) -> JudgeShare | None:
    """Return what the project's judge takes; None without one, or with the embedded one, which costs nothing.

    Raises:
        ConfigError: its rubric or its anchors cannot be read.
    """
    name = app.project.evals.judge
    entry = app.project.judges.get(name or "")
    if name is None or entry is None or entry.kind != "llm" or not judged.tasks:
        return None
    price = app.project.models[entry.model or ""].price
    usd_in, usd_out = (None, None) if price == Price() else (price.input, price.output)
    charge = Charge(usd_in, usd_out, 0.0, float(entry.max_tokens), "prompts, and replies as long as they may be")
    votes = entry.repeats * (2 if entry.swap else 1)
    sizes = [*_sizes(judged, await rubric_of(app, name, entry))]
    anchors = len(await project_anchors(app, name))
    asked = len(sizes) + anchors
    before = judged_before(app, judged.dataset, (await judge_identity(app, name)).digest)
    if before.calls:
        # A line there is a judgement with all of its votes.
        tokens_in, tokens_out = asked * before.tokens_in / before.calls, asked * before.tokens_out / before.calls
        basis = f"{before.calls:,} judgements of an earlier run"
    else:
        mean = sum(sizes) / len(sizes) if sizes else 0.0
        tokens_in, tokens_out = votes * (sum(sizes) + anchors * mean), float(votes * asked * entry.max_tokens)
        basis = charge.basis
    spent = Spent().plus(asked * votes, tokens_in, tokens_out, charge.usd(tokens_in, tokens_out))
    return JudgeShare(judge_charge_name(name), charge, spent, basis)


def _sizes(judged: Judged, rubric: str) -> list[float]:
    """Return the tokens of the prompt of every judgement."""
    found: list[float] = []
    for charge in judged.answers.values():
        for case in judged.cases:
            for task in sorted(judged.tasks):
                size = _size(task, case, charge, rubric)
                found += [] if size is None else [size] * judged.repeats
    return found


def _size(task: Task, case: Case, charge: Charge, rubric: str) -> float | None:
    if task == "completeness" and (case.unanswerable or not (case.reference or "").strip()):
        return None
    request = request_for(task, case, Output())
    if task == "rubric" and not request.rubric:
        request = JudgeRequest(task, case, Output(), rubric)
    try:
        chars = sum(len(message["content"]) for message in messages_for(request))
    except UsageError:
        return None  # There is no rubric, which its score will say.
    # Of passages no more is known than how long the prompts are that hold them.
    passages = charge.tokens_in if task in _WITH_PASSAGES and charge.whole else 0.0
    return chars / _CHARS_PER_TOKEN + charge.tokens_out + passages
