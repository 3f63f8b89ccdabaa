"""Answers of evaluation targets in memory; the fake that tests use."""

from shipway.core.ids import Digest
from shipway.evals.model import Output


class MemoryResponseCache:
    """Implements `evals.ports.ResponseCache`."""

    def __init__(self) -> None:
        self._kept: dict[Digest, Output] = {}

    async def get(self, key: Digest) -> Output | None:
        """Return the answer to a request, None when it is not known."""
        return self._kept.get(key)

    async def put(self, key: Digest, output: Output) -> None:
        """Keep an answer; errors are not kept."""
        if output.error is None:
            self._kept[key] = output
