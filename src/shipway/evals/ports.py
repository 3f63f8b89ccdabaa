"""What evaluation asks of the world: whatever is evaluated, judges, models of similarity, HTTP, cache and disk.

Above: the runner, metrics, judging. Below: adapters and services for a release of this project, an HTTP endpoint or a
Python function, and the tests' fakes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from shipway.core.ids import Digest
from shipway.core.personal_data import PiiHit
from shipway.evals.judgement import JudgeIdentity, Judgement, JudgeRequest
from shipway.evals.model import Attempt, Case, Output


class Target(Protocol):
    """Something that answers cases."""

    @property
    def name(self) -> str:
        """What reports call it."""
        ...

    @property
    def digest(self) -> str:
        """The content it stands for: a release id, or the digest of an endpoint's configuration."""
        ...

    async def ask(self, case: Case, *, repeat: int) -> Output:
        """Answer one case; never from a cache shared between repeats.

        An exception becomes an error on that one output.
        """
        ...


class Judge(Protocol):
    """Somebody with an opinion on an answer."""

    @property
    def identity(self) -> JudgeIdentity:
        """Who judges; part of the binding of every run."""
        ...

    async def judge(self, request: JudgeRequest, *, repeat: int) -> Judgement:
        """Judge one answer.

        Raises:
            JudgeReplyError: the reply is no judgement.
            UnavailableError: the judge does not answer.
        """
        ...


class PiiFinder(Protocol):
    """Finds personal data."""

    def find(self, text: str) -> list[PiiHit]:
        """Return what is found, in the order of the text."""
        ...


class Similarity(Protocol):
    """How near the meanings of two texts are."""

    @property
    def digest(self) -> Digest:
        """The model it goes by."""
        ...

    async def similarity(self, pairs: Sequence[tuple[str, str]]) -> list[float]:
        """Return the cosine of each pair, in [-1, 1]."""
        ...


@dataclass(frozen=True, slots=True)
class HttpCall:
    """One request; a reply whose body is longer than `limit_bytes` is an error."""

    method: str
    url: str
    headers: tuple[tuple[str, str], ...]
    body: bytes
    timeout_s: float
    limit_bytes: int = 10_000_000


@dataclass(frozen=True, slots=True)
class HttpReply:
    """What came back; header names are lower case. Both times count from the start of the call."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    ttft_ms: float
    total_ms: float


class JsonCaller(Protocol):
    """Sends requests to endpoints."""

    async def call(self, request: HttpCall) -> HttpReply:
        """Send one request; 429 and 503 are replies, not errors.

        Raises:
            DeadlineError: no whole reply within `timeout_s`.
            UnavailableError: nobody answers, or the reply is longer than `limit_bytes`.
        """
        ...


class ResponseCache(Protocol):
    """Answers that were given before."""

    async def get(self, key: Digest) -> Output | None:
        """Return the answer to a request, None when it is not known."""
        ...

    async def put(self, key: Digest, output: Output) -> None:
        """Keep an answer."""
        ...


class RunSink(Protocol):
    """Gets every finished attempt at once, in the order of finishing; what it took survives kill -9."""

    def write(self, target: str, attempt: Attempt) -> None:
        """Keep one attempt."""
        ...

    def finished(self, target: str) -> frozenset[tuple[str, int]]:
        """Return case id and repeat of what is there already and not asked again; errors are not among them."""
        ...
