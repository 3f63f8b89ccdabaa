"""A target that gives an answer again which it gave before; only where no release is judged.

A gate wants fresh answers of both releases: a cached one is a copy, with the latency of another day.
"""

from dataclasses import dataclass, replace
from typing import Any

from shipway.core.canonical import digest_json
from shipway.core.ids import Digest
from shipway.evals.model import Case, Output
from shipway.evals.ports import ResponseCache, Target

_SCHEMA = 1
_ASKED = ("question", "tenant", "groups", "messages", "variables", "context")
"""What of a case a target may look at; the rest says what a right answer is."""


@dataclass(frozen=True, slots=True)
class CachedTarget:
    """Implements `evals.ports.Target` around another one."""

    target: Target
    cache: ResponseCache

    @property
    def name(self) -> str:
        """What reports call it."""
        return self.target.name

    @property
    def digest(self) -> str:
        """The content it stands for."""
        return self.target.digest

    async def ask(self, case: Case, *, repeat: int) -> Output:
        """Answer a case, as before where it was asked before; errors are asked for again."""
        key = request_key(self.target.digest, case, repeat)
        known = await self.cache.get(key)
        if known is not None:
            return replace(known, cached=True)
        output = await self.target.ask(case, repeat=repeat)
        if output.error is None:
            await self.cache.put(key, output)
        return output


def request_key(digest: str, case: Case, repeat: int) -> Digest:
    """Return what an answer is kept under: target with prompts, model and decoding, the whole request, the repeat.

    The id is part of it, because an HTTP template may send it.
    """
    body = case.to_dict()
    request: dict[str, Any] = {name: body[name] for name in ("id", *_ASKED) if name in body}
    return digest_json({"schema": _SCHEMA, "target": digest, "request": request, "repeat": repeat})
