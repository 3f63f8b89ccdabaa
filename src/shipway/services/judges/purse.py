"""The judge's part of the budget of an evaluation: every call of its model is reserved before, and settled after it.

`building` puts it around the model of a judge, so that votes, second replies and anchors count like answers do.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import anyio
import orjson

from shipway.core.disk import explained
from shipway.core.errors import UsageError
from shipway.evals.budget import Meter, Reserved, Spent, total_of
from shipway.rag.answer import Generation, Generator
from shipway.rag.compose import Message

SPENT_FILE = "judge-spent.jsonl"
"""In the folder of a run: what each call of the judge took."""
_USED_UP = "not judged: the budget is used up"


@dataclass(slots=True)
class JudgePurse:
    """What a judge takes out of a meter; `is_used_up` once a call was refused. `name` is its own among the charges."""

    name: str
    meter: Meter
    is_used_up: bool = False
    _in_flight: int = 0
    _ended: anyio.Event = field(default_factory=anyio.Event)
    _path: Path | None = None
    _unwritten: list[Spent] = field(default_factory=list)

    def keep_in(self, folder: Path) -> None:
        """Write what was and will be taken into the folder of a run.

        Raises:
            StoreError: it cannot be written.
        """
        self._path = folder / SPENT_FILE
        self._write()

    async def reserve(self, chars: int) -> Reserved:
        """Return the ticket of a call; what is in flight may leave room for it.

        Raises:
            UsageError: it would exceed the budget.
        """
        while not self.is_used_up:
            ticket = self.meter.reserve_judge(self.name, chars)
            if ticket is not None:
                self._in_flight += 1
                return ticket
            if not self._in_flight:
                self.is_used_up = True
                break
            await self._ended.wait()
        raise UsageError(_USED_UP)

    def settle(self, ticket: Reserved, tokens_in: int, tokens_out: int) -> None:
        """Count what a call took, 0 where it failed."""
        self._unwritten.append(self.meter.settle_judge(self.name, ticket, tokens_in, tokens_out))
        self._in_flight -= 1
        self._ended.set()
        self._ended = anyio.Event()
        self._write()

    def _write(self) -> None:
        if self._path is None or not self._unwritten:
            return
        rows = [
            {"tokens_in": item.tokens_in, "tokens_out": item.tokens_out, "usd": item.usd} for item in self._unwritten
        ]
        with explained(self._path, "cannot be written"), self._path.open("ab") as file:
            file.write(b"".join(orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE) for row in rows))
        self._unwritten.clear()


@dataclass(frozen=True, slots=True)
class MeteredGenerator:
    """Implements `rag.answer.Generator` around the model of a judge."""

    generator: Generator
    purse: JudgePurse

    async def generate(
        self, messages: Sequence[Message], *, max_tokens: int, temperature: float, seed: int | None, stop: Sequence[str]
    ) -> Generation:
        """Return the reply to a chat.

        Raises:
            UsageError: it would exceed the budget; nothing was asked.
            UnavailableError: as the model does.
        """
        ticket = await self.purse.reserve(sum(len(str(message["content"])) for message in messages))
        tokens_in = tokens_out = 0
        try:
            made = await self.generator.generate(
                messages, max_tokens=max_tokens, temperature=temperature, seed=seed, stop=stop
            )
            tokens_in, tokens_out = made.tokens_in, made.tokens_out
        finally:
            self.purse.settle(ticket, tokens_in, tokens_out)
        return made


def judge_charge_name(judge: str) -> str:
    """Return what a judge is called among the charges; no alias of a model has a colon."""
    return f"judge:{judge}"


def judge_spent(folder: Path) -> Spent:
    """Return what the judge of a run took so far; nothing where none was asked."""
    try:
        lines = (folder / SPENT_FILE).read_bytes().splitlines()
    except OSError:
        return Spent()
    return total_of(filter(None, map(_read, lines)))


def _line(spent: Spent) -> bytes:
    row = {"tokens_in": spent.tokens_in, "tokens_out": spent.tokens_out, "usd": spent.usd}
    return orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE)


def _read(line: bytes) -> Spent | None:
    try:
        row = orjson.loads(line)
        usd = row["usd"]
        return Spent(1, int(row["tokens_in"]), int(row["tokens_out"]), None if usd is None else float(usd))
    except (ValueError, KeyError, TypeError):
        return None  # A process that was killed while it wrote.
