"""Asking smoke checks: a running gateway or endpoint by its address, or a release before it is deployed.

`shipway eval smoke` and pipelines call this. A check that nobody could answer is an ERROR; one that the answer breaks
is a FAIL.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

import anyio
import anyio.to_thread
import orjson

from shipway import __version__
from shipway.core.clock import Clock
from shipway.core.errors import DeadlineError, UnavailableError, UsageError
from shipway.core.findings import Finding, FindingReport
from shipway.core.record import ABSTAINED, ServedRequest
from shipway.core.verdicts import Verdict
from shipway.evals.contracts.check import BUSY, Checked, shown, without
from shipway.evals.contracts.source import read_source
from shipway.evals.model import Case, Dataset
from shipway.evals.ports import HttpCall, HttpReply, JsonCaller, Target
from shipway.evals.smoke import (
    AGENT_MISSING,
    ASKING,
    FAMILIES,
    LONGEST_S,
    SUITE,
    KnownDocument,
    SmokeAnswer,
    SmokeCheck,
    finding,
    judge,
    metric_totals,
    needs_two,
    parse_smoke,
)

_OK = 200
_NO_KEY = 401
_REFUSED = frozenset({401, 403, 404})
"""Statuses that say that this key or address cannot ask, which is nothing about the answer."""
_LIMIT_BYTES = 1_000_000
_POLL_S = 0.25
_WAIT_S = 10.0
"""How long counters, records and traces are waited for: workers publish every second, records come in segments."""
_REQUESTS = "shipway_requests_total"
_EXPORTED = "shipway_traces_exported_total"


class RefusedAnswerError(Exception):
    """The service answered, and not with an answer: the check fails. It never leaves this module's callers."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class SmokeTarget(Protocol):
    """What answers smoke checks."""

    async def ask(self, check: SmokeCheck) -> SmokeAnswer:
        """Answer one question at temperature 0.

        Raises:
            UnavailableError: nobody answers; the check is an ERROR.
            RefusedAnswerError: the reply is no answer; the check FAILs.
        """
        ...


class Evidence(Protocol):
    """What a gateway kept of the questions."""

    async def metrics(self) -> str:
        """Return the exposition of `/metrics`.

        Raises:
            UnavailableError: it cannot be read.
        """
        ...

    async def record(self, request_id: str) -> ServedRequest | None:
        """Return the record of a request, None while there is none.

        Raises:
            UnavailableError: there is no store to look in.
        """
        ...


@dataclass(frozen=True, slots=True)
class NoEvidence:
    """The evidence where there is no gateway."""

    reason: str

    async def metrics(self) -> str:
        """Say that there is none."""
        raise UnavailableError(self.reason)

    async def record(self, request_id: str) -> ServedRequest | None:
        """Say that there is none."""
        del request_id
        raise UnavailableError(self.reason)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where questions go over HTTP: `url` ends before `/v1`. `release` pins them to one; `traced` asks for a trace."""

    caller: JsonCaller
    url: str
    key: str = field(default="", repr=False)
    release: str = ""
    trace_id: Callable[[], str] | None = None

    async def ask(self, check: SmokeCheck) -> SmokeAnswer:
        """Ask over the OpenAI chat API."""
        body = {
            "model": check.route,
            "messages": [{"role": "user", "content": check.prompt}],
            "temperature": 0,
            "seed": 7,
            "max_tokens": check.max_tokens,
        }
        headers = self._headers()
        url = f"{self.url}/v1/chat/completions"
        reply = await self.caller.call(
            HttpCall("POST", url, headers, orjson.dumps(body), check.timeout_s, _LIMIT_BYTES)
        )
        if reply.status != _OK:
            self._refuse(reply)
        pinned = reply.headers.get("x-shipway-release", "")
        if self.release and pinned != self.release:
            raise UnavailableError(f"answered by {pinned or 'no release'}, asked was {self.release}")
        return _answer(reply)

    async def metrics(self) -> str:
        """Read `/metrics`."""
        reply = await self.caller.call(HttpCall("GET", f"{self.url}/metrics", self._headers(), b"", LONGEST_S))
        if reply.status != _OK:
            hint = "; the key needs the role operate" if reply.status in _REFUSED else ""
            raise UnavailableError(f"/metrics answers {reply.status}{hint}")
        return reply.body.decode("utf-8", "replace")

    def _headers(self) -> tuple[tuple[str, str], ...]:
        headers = [("content-type", "application/json"), ("accept", "application/json")]
        headers += [("accept-encoding", "identity"), ("user-agent", f"shipway/{__version__}")]
        if self.key:
            headers.append(("authorization", f"Bearer {self.key}"))
        if self.release:
            headers.append(("x-shipway-release", self.release))
        if self.trace_id is not None:
            # Sampled, whatever share of requests is traced.
            headers.append(("traceparent", f"00-{self.trace_id()}-00000000000000a1-01"))
        return tuple(headers)

    def _refuse(self, reply: HttpReply) -> None:
        said = shown(reply.body[:4096].decode("utf-8", "replace"), [self.key] if self.key else [])
        message = f"status {reply.status}: {said}"
        if reply.status == _NO_KEY and not self.key:
            message += "; no key was sent: set SHIPWAY_TARGET_KEY, or name another variable with --key-env"
        if reply.status in BUSY | _REFUSED:
            raise UnavailableError(message)
        raise RefusedAnswerError(message)


@dataclass(frozen=True, slots=True)
class GatewayEvidence:
    """The evidence of a gateway whose store this project has."""

    endpoint: Endpoint
    find: Callable[[str], Awaitable[ServedRequest | None]]

    async def metrics(self) -> str:
        """Read `/metrics`."""
        return await self.endpoint.metrics()

    async def record(self, request_id: str) -> ServedRequest | None:
        """Look in the store."""
        return await self.find(request_id)


@dataclass(frozen=True, slots=True)
class MetricsOnly:
    """The evidence of a gateway whose store is elsewhere."""

    endpoint: Endpoint

    async def metrics(self) -> str:
        """Read `/metrics`."""
        return await self.endpoint.metrics()

    async def record(self, request_id: str) -> ServedRequest | None:
        """Say that there is none."""
        del request_id
        raise UnavailableError("the records are in a store of another project; run this in the project's folder")


@dataclass(frozen=True, slots=True)
class OpenedRelease:
    """A release that is not deployed, or any other target of evaluations; its own settings limit its tokens."""

    target: Target

    async def ask(self, check: SmokeCheck) -> SmokeAnswer:
        """Ask as an evaluation does."""
        case = Case(check.name, check.prompt, tenant=check.tenant, groups=check.groups)
        try:
            with anyio.fail_after(check.timeout_s):
                output = await self.target.ask(case, repeat=0)
        except TimeoutError as error:
            raise DeadlineError(f"no answer within {check.timeout_s:g} s") from error
        if output.error is not None:
            raise UnavailableError(output.error)
        citations = dict(enumerate(output.citations, start=1))
        declined = True if ABSTAINED in output.events else None
        return SmokeAnswer(output.answer, citations, is_refusal=declined, total_ms=output.latency_ms)


@dataclass(frozen=True, slots=True)
class Waiting:
    """How evidence that comes later is waited for."""

    clock: Clock
    sleep: Callable[[float], Awaitable[None]] = anyio.sleep
    wait_s: float = _WAIT_S


async def load_smoke(path: Path) -> list[SmokeCheck]:
    """Return the checks of a file.

    Raises:
        UsageError: everything that is wrong, each with file and line.
    """

    def read() -> list[SmokeCheck]:
        try:
            data = path.read_bytes()
        except OSError as error:
            raise UsageError(f"{path}: cannot be read: {error.strerror or error}") from error
        return parse_smoke(read_source(data, str(path)))

    return await anyio.to_thread.run_sync(read)


@dataclass(frozen=True, slots=True)
class Asker:
    """As whom questions are asked: the tenant and the groups of a key."""

    tenant: str
    groups: frozenset[str] = frozenset()

    def may_ask(self, case: Case) -> bool:
        """Tell whether the asker of a case sees no more than this one."""
        return case.tenant == self.tenant and self.groups.issuperset(case.groups)


def known_document(dataset: Dataset, asker: Asker | None) -> KnownDocument | None:
    """Return the first question of a dataset that a document answers, of those that the asker may ask.

    Without an asker every case may be asked as whom it says.
    """
    for case in sorted(dataset.cases, key=lambda case: case.id):
        if case.expected_sources and not case.unanswerable and (asker is None or asker.may_ask(case)):
            return KnownDocument(case.question, case.expected_sources[0], case.tenant, case.groups)
    return None


async def run_smoke(
    checks: Sequence[SmokeCheck],
    target: SmokeTarget,
    evidence: Evidence,
    waiting: Waiting,
    secrets: Sequence[str] = (),
) -> FindingReport:
    """Ask every check, one after another, then look at what was counted and recorded."""
    run = _Run(target, evidence, waiting)
    run.before = await run.totals()
    findings: list[Finding] = []
    for check in checks:
        if check.kind in ASKING:
            findings += await run.asked(check)
    findings += [await run.observed(check) for check in checks if check.kind not in ASKING]
    order = {check.name: index for index, check in enumerate(checks)}
    findings.sort(key=lambda item: order[item.name])
    told = tuple(replace(item, message=without(item.message, secrets)) for item in findings)
    return FindingReport(SUITE, __version__, told)


@dataclass(slots=True)
class _Run:
    target: SmokeTarget
    evidence: Evidence
    waiting: Waiting
    before: Mapping[str, float] | str = field(default_factory=dict)
    answered: int = 0
    request_id: str = ""

    async def totals(self) -> Mapping[str, float] | str:
        """Return what is counted now, or why nobody knows."""
        try:
            return metric_totals(await self.evidence.metrics())
        except UnavailableError as error:
            return error.message

    async def asked(self, check: SmokeCheck) -> list[Finding]:
        try:
            first = await self._answer(check)
            second = await self._answer(check) if needs_two(check) else None
        except DeadlineError:
            return [finding(check, Checked(Verdict.ERROR, f"no answer within {check.timeout_s:g} s"))]
        except UnavailableError as error:
            return [finding(check, Checked(Verdict.ERROR, f"nobody could answer: {error.message}"))]
        except RefusedAnswerError as error:
            return [finding(check, Checked(Verdict.FAIL, error.message))]
        return judge(check, first, second)

    async def _answer(self, check: SmokeCheck) -> SmokeAnswer:
        answer = await self.target.ask(check)
        self.answered += 1
        self.request_id = answer.request_id or self.request_id
        return answer

    async def observed(self, check: SmokeCheck) -> Finding:
        if check.kind == "agent":
            return finding(check, Checked(Verdict.NO_DATA, AGENT_MISSING))
        if not self.answered:
            return finding(check, Checked(Verdict.NO_DATA, "no question was answered, so nothing can be there"))
        try:
            return finding(check, await self._until(_OBSERVERS[check.kind], check))
        except UnavailableError as error:
            return finding(check, Checked(Verdict.NO_DATA, error.message))

    async def _until(self, look: "_Observer", check: SmokeCheck) -> Checked:
        """Look until it is there or waited for long enough."""
        until_s = self.waiting.clock.monotonic_s() + self.waiting.wait_s
        while True:
            found = await look(self, check)
            if found.verdict is not Verdict.FAIL or self.waiting.clock.monotonic_s() >= until_s:
                return found
            await self.waiting.sleep(_POLL_S)

    def grown(self, now: Mapping[str, float], name: str) -> float:
        """Return by how much a counter grew since before the first question."""
        if isinstance(self.before, str):
            raise UnavailableError(self.before)
        return now.get(name, 0.0) - self.before.get(name, 0.0)

    async def now(self) -> Mapping[str, float]:
        """Return what is counted now."""
        return metric_totals(await self.evidence.metrics())


_Observer = Callable[[_Run, SmokeCheck], Awaitable[Checked]]


async def _counters(run: _Run, check: SmokeCheck) -> Checked:
    now = await run.now()
    missing = [name for name in check.expected.get("families", FAMILIES) if name not in now]
    if missing:
        return Checked(Verdict.FAIL, f"/metrics does not have {', '.join(missing)}")
    grown = run.grown(now, _REQUESTS)
    if _REQUESTS in now and grown < run.answered:
        return Checked(Verdict.FAIL, f"{_REQUESTS} grew by {grown:g} while {run.answered} questions were answered")
    return Checked(Verdict.PASS)


async def _record(run: _Run, _check: SmokeCheck) -> Checked:
    if not run.request_id:
        raise UnavailableError("the replies have no x-request-id; only a gateway of Shipway keeps records")
    found = await run.evidence.record(run.request_id)
    if found is None:
        return Checked(Verdict.FAIL, f"no record of {run.request_id} within {run.waiting.wait_s:g} s")
    counted = found.tokens_out > 0 or bool(found.cache_hit) or ABSTAINED in found.events
    if found.status != _OK or not found.release or not counted:
        said = f"status {found.status}, release {found.release!r}, {found.tokens_out} tokens"
        return Checked(Verdict.FAIL, f"the record of {run.request_id} lacks its counters: {said}")
    return Checked(Verdict.PASS)


async def _trace(run: _Run, _check: SmokeCheck) -> Checked:
    now = await run.now()
    if _EXPORTED not in now:
        raise UnavailableError("this gateway exports no traces (telemetry.traces)")
    grown = run.grown(now, _EXPORTED)
    if grown < 1:
        return Checked(Verdict.FAIL, f"no trace arrived within {run.waiting.wait_s:g} s ({_EXPORTED} did not grow)")
    return Checked(Verdict.PASS)


_OBSERVERS: Mapping[str, _Observer] = {"counters": _counters, "record": _record, "trace": _trace}


def _answer(reply: HttpReply) -> SmokeAnswer:
    """Read a reply of the chat API.

    Raises:
        RefusedAnswerError: it is none.
    """
    try:
        body: Any = orjson.loads(reply.body)
        text = body["choices"][0]["message"]["content"]
        usage = body.get("usage") or {}
        tokens = usage.get("completion_tokens")
    except (orjson.JSONDecodeError, KeyError, IndexError, TypeError, AttributeError) as error:
        raise RefusedAnswerError(f"the reply is no chat completion ({type(error).__name__})") from error
    if not isinstance(text, str):
        raise RefusedAnswerError(f"the answer is no text but {type(text).__name__}")
    return SmokeAnswer(
        text,
        _citations(body.get("citations")),
        tokens if isinstance(tokens, int) else None,
        reply.headers.get("x-request-id", ""),
        reply.headers.get("x-shipway-cache") == "hit",
        # A route that cites and cites nothing has declined.
        is_refusal=True if body.get("citations") == [] else None,
        total_ms=reply.total_ms,
    )


def _citations(given: Any) -> dict[int, str] | None:
    if not isinstance(given, list):
        return None
    return {
        item["index"]: str(item.get("document", ""))
        for item in given
        if isinstance(item, dict) and isinstance(item.get("index"), int)
    }
