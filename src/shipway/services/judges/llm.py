"""A model as judge: by rubric, with a strict form of reply, asked several times and in both orders.

Implements `evals.ports.Judge`; `building` makes one.
"""

import statistics
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from importlib import import_module
from itertools import product

import anyio

from shipway.config.sections.models import Price
from shipway.core.canonical import digest_json
from shipway.core.errors import JudgeReplyError, UpstreamError
from shipway.evals.judge_prompts import RETRY, messages_for
from shipway.evals.judgement import PASSES_FROM, JudgeIdentity, Judgement, JudgeRequest
from shipway.rag.answer import Generation, Generator
from shipway.rag.compose import Message
from shipway.services.judges.code import LLM_CODE, code_digest

_REPLIES = "shipway.evals.judge_replies"
_TOKENS_PER_PRICE = 1_000_000
_CUT_OFF = "length"
_BUSY = frozenset({429, 502, 503, 504})
_PAUSES_S = (1.0, 4.0)
_LONGEST_PAUSE_S = 30.0
_SHOWN_REASON_CHARS = 200


@dataclass(frozen=True, slots=True)
class LlmSettings:
    """How a model judges. `model` names it for the identity; `rubric` counts where a case has none of its own."""

    model: str
    repeats: int = 1
    swap: bool = True
    temperature: float = 0.0
    max_tokens: int = 512
    rubric: str = ""
    price: Price | None = None

    def identity(self, name: str) -> JudgeIdentity:
        """Return who judges; prices and time-outs are not part of it."""
        body = {
            "kind": "llm",
            "code": code_digest(LLM_CODE),
            "model": self.model,
            "repeats": self.repeats,
            "swap": self.swap,
            "temperature": self.temperature,
            "max_tokens": self.max_tokens,
            "rubric": self.rubric,
        }
        return JudgeIdentity(name, digest_json(body))


class LlmJudge:
    """Asks a model for every vote; an invalid reply is asked for once more, then it is an error."""

    def __init__(
        self,
        name: str,
        generator: Generator,
        settings: LlmSettings,
        sleep: Callable[[float], Awaitable[None]] = anyio.sleep,
    ) -> None:
        self.identity = settings.identity(name)
        self._sleep = sleep
        self._generator = generator
        self._settings = settings

    async def judge(self, request: JudgeRequest, *, repeat: int) -> Judgement:
        """Judge one answer; the score is the mean of the votes.

        Raises:
            JudgeReplyError: a reply is no judgement, twice.
            UnavailableError: the model does not answer.
            UsageError: task `rubric` without a rubric.
        """
        asked = (
            request if request.rubric or request.task != "rubric" else replace(request, rubric=self._settings.rubric)
        )
        orders = (False, True) if self._settings.swap else (False,)
        votes: list[Judgement] = []
        kinds = list(product(range(self._settings.repeats), orders))
        for number, (_, swapped) in enumerate(kinds):
            votes.append(await self._vote(asked, swapped=swapped, seed=repeat * len(kinds) + number))
        return _merged(votes)

    async def _vote(self, request: JudgeRequest, *, swapped: bool, seed: int) -> Judgement:
        messages = messages_for(request, swapped=swapped)
        first = await self._reply(messages, seed)
        try:
            return self._judged(request, [first])
        except JudgeReplyError as error:
            told = RETRY.format(reason=_reason(error, first))
            again = [*messages, {"role": "assistant", "content": first.text}, {"role": "user", "content": told}]
        second = await self._reply(again, seed)
        try:
            return self._judged(request, [first, second])
        except JudgeReplyError as error:
            raise JudgeReplyError(f"{_reason(error, second)} (asked twice)") from error

    async def _reply(self, messages: Sequence[Message], seed: int) -> Generation:
        """Return one reply; an endpoint that is busy is asked again, when it says or ever later."""
        for pause_s in _PAUSES_S:
            try:
                return await self._generated(messages, seed)
            except UpstreamError as error:
                if error.status not in _BUSY:
                    raise
                await self._sleep(_asked_for(error.retry_after, pause_s))
        return await self._generated(messages, seed)

    async def _generated(self, messages: Sequence[Message], seed: int) -> Generation:
        settings = self._settings
        return await self._generator.generate(
            messages, max_tokens=settings.max_tokens, temperature=settings.temperature, seed=seed, stop=()
        )

    def _judged(self, request: JudgeRequest, replies: Sequence[Generation]) -> Judgement:
        # With the first reply: the library of schemas is not needed to start an evaluation.
        found: Judgement = import_module(_REPLIES).parse_reply(replies[-1].text, request.task)
        if request.task == "abstention" and found.score is not None and not request.case.unanswerable:
            # The judge says whether it declined; declining is right only where there is no answer.
            found = replace(found, score=1.0 - found.score)
        tokens_in = sum(reply.tokens_in for reply in replies)
        tokens_out = sum(reply.tokens_out for reply in replies)
        return replace(
            found,
            tokens_in=tokens_in,
            tokens_out=tokens_out,
            cost_usd=_cost(self._settings.price, tokens_in, tokens_out),
        )


def _merged(votes: Sequence[Judgement]) -> Judgement:
    scores = [vote.score for vote in votes if vote.score is not None]
    score = statistics.fmean(scores) if scores else None
    costs = [vote.cost_usd for vote in votes if vote.cost_usd is not None]
    passed = sum(score >= PASSES_FROM for score in scores)
    return replace(
        votes[0],
        score=score,
        votes=tuple(scores),
        agreement=max(passed, len(scores) - passed) / len(scores) if scores else 1.0,
        tokens_in=sum(vote.tokens_in for vote in votes),
        tokens_out=sum(vote.tokens_out for vote in votes),
        cost_usd=sum(costs) if len(costs) == len(votes) else None,
    )


def _cost(price: Price | None, tokens_in: int, tokens_out: int) -> float | None:
    """Return dollars; tokens read from the engine's cache are counted at the full price."""
    if price is None:
        return None
    return (price.input * tokens_in + price.output * tokens_out) / _TOKENS_PER_PRICE


def _asked_for(retry_after: str | None, pause_s: float) -> float:
    """Return the seconds that an endpoint asks for, within bounds; a date counts as none."""
    try:
        wanted = float(retry_after or pause_s)
    except ValueError:
        return pause_s
    return min(_LONGEST_PAUSE_S, wanted) if wanted >= 0 else pause_s


def _reason(error: JudgeReplyError, reply: Generation) -> str:
    cut_off = "; it was cut off, raise max_tokens of the judge" if reply.finish_reason == _CUT_OFF else ""
    return error.message[:_SHOWN_REASON_CHARS] + cut_off
