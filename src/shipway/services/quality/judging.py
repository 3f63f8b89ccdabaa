"""Kept answers, judged under a budget: the samples of the gateway, and both answers of shadow pairs.

The control process runs this. What a judge could not say is an error that is counted, never a score; it is asked again
a few times. A judgement that was made and not written is made again: its id is that of the request, so it is observed
once, and its tokens are counted twice, as they were taken.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import anyio

from shipway.core.errors import RateLimitedError
from shipway.core.observation import JUDGED_PAIR, QUALITY, Observation, about
from shipway.core.ports import State
from shipway.core.record import ServedRequest
from shipway.evals.judgement import Judgement, JudgeRequest
from shipway.evals.judging import without_asking
from shipway.evals.model import Case, Output
from shipway.evals.ports import Judge, Similarity
from shipway.gateway.sampling import SAMPLE_KIND
from shipway.gateway.shadow import PAIR_KIND, SHADOW
from shipway.services.quality.pairs import paired
from shipway.services.quality.purse import DailyPurse, text_bytes

ERROR_KIND = "quality_error"
_PAGE = 100_000
_MOST_A_ROUND = 50
_ATTEMPTS = 3
_MOST_ERRORS = 1_000
_PAUSE_S = 60.0
_TIMEOUT_S = 120.0
_BYTES_A_TOKEN = 4


@dataclass(frozen=True, slots=True)
class OnlineJudge:
    """Who judges: one task for all answers, and a purse; `similarity` None compares nothing.

    `worth` makes an observation's value of the judge's score. A judge without a model of its own (`is_embedded`) takes
    the tokens of the texts, so that the budget bounds it too.
    """

    judge: Judge
    task: str
    purse: DailyPurse
    is_embedded: bool = True
    similarity: Similarity | None = None
    worth: Callable[[float], float] = float

    async def score(self, request_id: str, question: str, answer: str) -> tuple[float | None, int]:
        """Return the score of an answer, None when there is nothing to judge, and the tokens that it took.

        Raises:
            RateLimitedError: the budget is used up.
            Exception: whatever a judge fails with.
        """
        case = Case(id=request_id, question=question)
        request = JudgeRequest(self.task, case, Output(answer=answer))  # type: ignore[arg-type]
        settled = without_asking(request)
        if isinstance(settled, Judgement):
            return None if settled.score is None else _share(settled.score), 0
        tokens = 0
        if self.is_embedded:
            tokens = -(-(text_bytes(question) + text_bytes(answer)) // _BYTES_A_TOKEN)
            await self.purse.reserve(tokens)
        with anyio.fail_after(_TIMEOUT_S):
            judged = await self.judge.judge(request, repeat=0)
        score = None if judged.score is None else _share(self.worth(judged.score))
        return score, tokens + judged.tokens_in + judged.tokens_out


@dataclass(frozen=True, slots=True)
class Round:
    """What came of one look: observations written, failures of the judge, whether the budget ended it."""

    observed: int = 0
    errors: int = 0
    used_up: bool = False


Look = Callable[[Mapping[str, Any]], Awaitable[Observation | None]]


@dataclass(slots=True)
class AnswerJudging:
    """Judges what is kept and not judged yet, some at a time."""

    state: State
    now_s: Callable[[], float]
    environment: str
    _done: set[str] = field(default_factory=set)

    async def judge_samples(self, judge: OnlineJudge) -> Round:
        """Judge samples of the gateway."""
        return await self._round(SAMPLE_KIND, QUALITY, lambda body: self._sample(judge, body))

    async def judge_pairs(self, judge: OnlineJudge) -> Round:
        """Judge both answers of shadow pairs."""
        return await self._round(PAIR_KIND, JUDGED_PAIR, lambda body: self._pair(judge, body))

    async def _round(self, kind: str, observed: str, look: Look) -> Round:
        written = errors = 0
        for body in await self._open(kind, observed):
            if written + errors >= _MOST_A_ROUND:
                break
            request_id = str(body["request_id"])
            try:
                found = await look(body)
            except RateLimitedError:
                return Round(written, errors, used_up=True)
            except Exception as error:  # noqa: BLE001 - a judge is foreign code: its failure is one missing score
                errors += 1
                await self._failed(f"{kind}/{request_id}", body, error)
                continue
            if found is not None:
                written += await self.state.observations.append([found])
                self._done.add(f"{kind}/{request_id}")
        return Round(written, errors)

    async def _open(self, kind: str, observed: str) -> list[Mapping[str, Any]]:
        """Return the bodies that are neither judged nor given up, oldest first."""
        rows = [body for _, body, _ in await self.state.documents.list(kind, limit=_PAGE)]
        found: list[Mapping[str, Any]] = []
        for body in sorted(rows, key=lambda row: float(row["at_s"])):
            key = f"{kind}/{body['request_id']}"
            if key in self._done or body.get("environment", self.environment) != self.environment:
                continue
            record_id = body["request_id"] if observed == QUALITY else f"{body['request_id']}.{SHADOW}"
            if await self.state.observations.find(f"{observed}/{record_id}") is not None:
                self._done.add(key)
            elif await self._may_try(key):
                found.append(body)
        if len(self._done) > 2 * _PAGE:
            self._done.clear()
        return found

    async def _sample(self, judge: OnlineJudge, body: Mapping[str, Any]) -> Observation | None:
        record = await self.state.records.find(body["request_id"])
        if record is None:
            return None
        score, tokens = await judge.score(record.id, body["question"], body["answer"])
        if score is None:
            self._done.add(f"{SAMPLE_KIND}/{record.id}")
            return None
        details = _details(judge, tokens)
        return about(record, QUALITY, score, at_s=self.now_s(), mark="", details=details)

    async def _pair(self, judge: OnlineJudge, body: Mapping[str, Any]) -> Observation | None:
        user, copy = await self._both(body["request_id"])
        if user is None or copy is None:
            return None
        question, stable, shadow = body["question"], body["stable_answer"], body["shadow_answer"]
        first, spent = await judge.score(user.id, question, stable)
        second, more = await judge.score(copy.id, question, shadow)
        if first is None and second is None:
            self._done.add(f"{PAIR_KIND}/{user.id}")
            return None
        details = _details(judge, spent + more) | {"stable_release": user.release}
        if first is None or second is None:
            # Who declines what the other answered has given the user nothing.
            details["declined"] = "stable" if first is None else "shadow"
        first, second = first or 0.0, second or 0.0
        details |= {"stable": first, "shadow": second}
        if judge.similarity is not None:
            details["similarity"] = (await judge.similarity.similarity([(stable, shadow)]))[0]
        return paired(user, copy, JUDGED_PAIR, second - first, at_s=self.now_s(), details=details)

    async def _both(self, request_id: str) -> tuple[ServedRequest | None, ServedRequest | None]:
        records = self.state.records
        user, copy = await records.find(request_id), await records.find(f"{request_id}.{SHADOW}")
        here = user is None or user.environment == self.environment
        return (user, copy) if here else (None, None)

    async def _may_try(self, key: str) -> bool:
        found = await self.state.documents.get(ERROR_KIND, f"{self.environment}/{key}")
        if found is None:
            return True
        row = found[0]
        if row["attempts"] >= _ATTEMPTS:
            self._done.add(key)
            return False
        return bool(self.now_s() - row["at_s"] >= _PAUSE_S * row["attempts"])

    async def _failed(self, key: str, body: Mapping[str, Any], error: Exception) -> None:
        """Count a failure; what a judge says of it may quote the answer, so only its kind is kept."""
        place = f"{self.environment}/{key}"
        found = await self.state.documents.get(ERROR_KIND, place)
        attempts = 1 if found is None else found[0]["attempts"] + 1
        row = {"attempts": attempts, "at_s": self.now_s(), "error": type(error).__name__, "route": body["route"]}
        await self.state.documents.put(ERROR_KIND, place, row)
        known = await self.state.documents.list(ERROR_KIND, prefix=f"{self.environment}/", limit=_PAGE)
        for old, _, _ in known[:-_MOST_ERRORS]:
            await self.state.documents.delete(ERROR_KIND, old)


def _details(judge: OnlineJudge, tokens: int) -> dict[str, float | str]:
    identity = judge.judge.identity
    return {"judge": identity.name, "judge_digest": identity.digest, "task": judge.task, "tokens": tokens}


def _share(score: float) -> float:
    return min(1.0, max(0.0, score))
