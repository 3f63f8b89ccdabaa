"""From kept texts to the turns of conversations, and the asking of them in order; `traffic` and `replay` use it.

Whole conversations are replayed as far as their turns were kept. Each turn is a case of its own. What stands before it
is what the asked release answered to the turns before (`own`), or what users got (`recorded`).
"""

from collections import Counter
from collections.abc import AsyncIterator, Collection, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field, replace
from enum import StrEnum
from hashlib import blake2b
from typing import Any

import anyio

from shipway.core.record import ServedRequest
from shipway.core.snapshot import KeyEntry
from shipway.evals.data_words import words
from shipway.evals.metrics import DocumentAccess
from shipway.evals.model import Case, Output
from shipway.evals.ports import Target
from shipway.registry.model import Release
from shipway.services.evaluation_plan import EvaluationTargets
from shipway.services.kept_texts import Asker, KeptText, asker_of

Message = Mapping[str, Any]
_Words = tuple[str, ...]
_Place = tuple[Asker, tuple[_Words, ...]]
"""Who asked, and the words of all turns up to this one."""


class History(StrEnum):
    """What stands before a later question of a conversation."""

    OWN = "own"
    RECORDED = "recorded"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class Turn:
    """A kept question of a conversation, with its record where there is one."""

    text: KeptText
    asker: Asker
    record: ServedRequest | None

    @property
    def at_s(self) -> float:
        """Return when it was asked (Unix time); 0 where nobody knows."""
        return self.text.at_s if self.record is None else self.record.at_s

    @property
    def conversation(self) -> str:
        """Return what it belongs to; "" where nobody knows."""
        return self.text.conversation if self.record is None else self.record.conversation


@dataclass(frozen=True, slots=True)
class Turns:
    """The cases of a replay; `before` names the case of the turn before, where a release's own answers count."""

    cases: tuple[Case, ...]
    before: Mapping[str, str] = field(default_factory=dict, hash=False)


def conversations(
    texts: Sequence[KeptText], records: Mapping[str, ServedRequest], keys: Collection[KeyEntry], history: History
) -> list[tuple[Turn, ...]]:
    """Return conversations, that of the newest text first, each with its turns in order; `texts` are newest first.

    Without history each text stands alone, as does one whose conversation nobody knows.
    """
    found: dict[tuple[str, Asker | int], dict[str, Turn]] = {}
    for place, text in enumerate(texts):
        record = records.get(text.request_id)
        turn = Turn(text, asker_of(record, keys), record)
        alone = history is History.NONE or not turn.conversation
        turns = found.setdefault(("", place) if alone else (turn.conversation, turn.asker), {})
        named = text.request_id or f"text {place}"
        # A request may be kept by its answer and by its log line.
        if named not in turns or (text.answer and not turns[named].text.answer):
            turns[named] = turn
    oldest_first = ([*turns.values()][::-1] for turns in found.values())
    return [tuple(sorted(turns, key=lambda turn: turn.at_s)) for turns in oldest_first]


def turns_to_ask(found: Iterable[tuple[Turn, ...]], limit: int, history: History, left_out: Counter[str]) -> Turns:
    """Return the newest distinct turns; the same words after other words, or of another asker, are another question."""
    cases: dict[_Place, Case] = {}
    times: Counter[_Place] = Counter()
    before: dict[str, str] = {}
    for turns in found:
        known = _answered(turns, left_out) if history is History.RECORDED else turns
        place: _Place = (known[0].asker, ())
        for number, turn in enumerate(known):
            above, place = cases.get(place), (turn.asker, (*place[1], tuple(words(turn.text.question))))
            if place in cases:
                left_out["asked before"] += 1
            elif len(cases) >= limit:
                left_out["older than --limit"] += len(known) - number
                break
            else:
                cases[place] = _case(known[: number + 1], history)
                if above is not None and history is History.OWN:
                    before[cases[place].id] = above.id
            times[place] += 1
    counted = (replace(case, metadata={**case.metadata, "times": times[place]}) for place, case in cases.items())
    return Turns(tuple(counted), before)


def _answered(turns: tuple[Turn, ...], left_out: Counter[str]) -> tuple[Turn, ...]:
    """Return the turns before which every answer is known."""
    unknown = next((number for number, turn in enumerate(turns) if not turn.text.answer), len(turns))
    left_out.update({"after an answer that was not kept": rest} if (rest := len(turns) - unknown - 1) > 0 else {})
    return turns[: unknown + 1]


def _case(turns: Sequence[Turn], history: History) -> Case:
    turn, earlier = turns[-1], turns[:-1]
    # Requests of a conversation succeed or fail together.
    cluster = blake2b(turn.conversation.encode(), digest_size=8).hexdigest() if turn.conversation else ""
    recorded = [message for old in earlier for message in _exchange(old.text.question, old.text.answer)]
    return Case(
        id=f"replay-{turn.text.request_id}",
        question=turn.text.question,
        tenant=turn.asker.tenant,
        groups=turn.asker.groups,
        cluster=cluster,
        tags=("replay",),
        messages=tuple(recorded) if history is History.RECORDED else (),
        metadata={"origin": turn.text.request_id, **({"turn": len(turns)} if earlier else {})},
    )


def _exchange(question: str, answer: str) -> tuple[Message, Message]:
    return {"role": "user", "content": question}, {"role": "assistant", "content": answer}


@dataclass(frozen=True, slots=True)
class TargetsInOrder:
    """Implements `services.evaluation_plan.EvaluationTargets` around another one: turns follow their own answers."""

    targets: EvaluationTargets
    turns: Turns

    def opened(self, release: Release) -> AbstractAsyncContextManager[Target]:
        """Open a release."""
        return self._opened(release)

    @asynccontextmanager
    async def _opened(self, release: Release) -> AsyncIterator[Target]:
        async with self.targets.opened(release) as target:
            yield TargetInOrder(target, self.turns)

    async def access(self, release: Release) -> Mapping[str, DocumentAccess] | None:
        """Return who may see which document of the release's corpus."""
        return await self.targets.access(release)

    def route(self, release: Release) -> str:
        """Return the route that is asked."""
        return self.targets.route(release)


class TargetInOrder:
    """Implements `evals.ports.Target`: a turn is asked after those before it, with what was answered to them.

    Whichever turn comes first asks those that it needs; theirs take the answer that is there then.
    """

    def __init__(self, target: Target, turns: Turns) -> None:
        self._target = target
        self._cases = {case.id: case for case in turns.cases}
        self._before = turns.before
        self._said: dict[tuple[str, int], Output] = {}
        self._locks: dict[tuple[str, int], anyio.Lock] = {}

    @property
    def name(self) -> str:
        """What reports call it."""
        return self._target.name

    @property
    def digest(self) -> str:
        """The content it stands for."""
        return self._target.digest

    async def ask(self, case: Case, *, repeat: int) -> Output:
        """Answer a turn; one before it that has no answer is the error of this one too."""
        path = self._path(case)
        async with self._locks.setdefault((path[0].id, repeat), anyio.Lock()):
            history: list[Message] = []
            for turn in path[:-1]:
                output = await self._answer(turn, repeat, history)
                if output.error is not None:
                    return Output(error=f"turn {turn.metadata.get('turn', 1)} of the conversation: {output.error}")
                history += _exchange(turn.question, output.answer)
            return await self._answer(case, repeat, history)

    async def _answer(self, turn: Case, repeat: int, history: Sequence[Message]) -> Output:
        known = self._said.get((turn.id, repeat))
        if known is not None:
            return known
        asked = replace(turn, messages=tuple(history)) if history else turn
        output = await self._target.ask(asked, repeat=repeat)
        if output.error is None:
            self._said[turn.id, repeat] = output
        return output

    def _path(self, case: Case) -> list[Case]:
        """Return the turns of a conversation up to this one."""
        path = [case]
        while (above := self._before.get(path[-1].id)) is not None:
            path.append(self._cases[above])
        return path[::-1]
