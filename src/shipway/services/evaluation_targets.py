"""A release as the target of an evaluation: the runtime that the gateway serves, asked without the gateway's limits."""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, cast

import anyio
import orjson

from shipway.config.sections.evals import HttpQuestion
from shipway.core.errors import UnavailableError, UsageError
from shipway.core.ids import Digest, TenantId
from shipway.core.principal import Principal
from shipway.evals.metrics import DocumentAccess
from shipway.evals.model import Case, Output
from shipway.evals.ports import HttpCall, JsonCaller, Target
from shipway.rag.answer import Answer, Answerer, Generator
from shipway.rag.compose import Message
from shipway.registry.model import Release
from shipway.services.application import Application
from shipway.services.corpora import BuiltCorpora
from shipway.services.http_processes import ProcessTarget, http_routes, needs_processes
from shipway.services.process_starts import ProcessStarts
from shipway.services.runtimes import ReleaseRuntimes
from shipway.services.targets.answers import NoAnswerError
from shipway.services.targets.json_path import JsonPath
from shipway.services.targets.replies import wrong_shape
from shipway.services.targets.service_replies import CostPaths, ServiceReply
from shipway.services.targets.templates import header_text

_START_TIMEOUT_S = 60.0
_POLL_S = 0.2
_SUBJECT = "evaluation"


@dataclass(frozen=True, slots=True)
class ReleaseTargets:
    """Implements `services.evaluations.EvaluationTargets`."""

    app: Application
    runtimes: ReleaseRuntimes
    corpora: BuiltCorpora
    caller: JsonCaller
    tell: Callable[[str], None] = lambda _line: None
    supervised: Callable[[], bool] = lambda: True
    processes: Callable[[], Sequence[Mapping[str, Any]]] = tuple

    @asynccontextmanager
    async def opened(self, release: Release) -> AsyncIterator[Target]:
        """Open a release; an http release's process is started for it and stopped again unless users are on it."""
        name = self.route(release)
        route = release.manifest["policy"]["routes"][name]
        if route["kind"] == "chat":
            yield await self._chat(release, route)
            return
        if route["kind"] == "rag":
            answerer = await self.runtimes.answerer(release, name)
            yield AnswererTarget(release.id, answerer, self.app.clock.monotonic_s)
            return
        question = self.app.project.evals.http
        if question is None:
            raise UsageError("evals.http is missing", hint="say how a case is put to the service: path, body, answer")
        answer = answer_path(question)
        self._demand_supervisor(release)
        target = ProcessTarget(self.app.state.documents, self.app.environment)
        await target.start(release.id)
        try:
            await self._wait_healthy(target, release)
            url = (await target.endpoints(release.id))[name] + question.path
            yield HttpTarget(release.id, url, question, answer, self.caller, self.app.project.evals.case_timeout_s)
        finally:
            snapshot = await self.app.state.snapshots.read(self.app.environment)
            if release.id not in snapshot.releases():
                await target.stop(release.id)

    async def access(self, release: Release) -> Mapping[str, DocumentAccess] | None:
        """Return who may see which document of the release's corpus."""
        corpus = release.manifest["data"]["corpus"]
        return await self.corpora.access(self.app, Digest(corpus["manifest"])) if corpus else None

    def route(self, release: Release) -> str:
        """Return the route that is evaluated.

        Raises:
            UsageError: the project does not say which of several.
        """
        routes: dict[str, Any] = release.manifest["policy"]["routes"]
        wanted = self.app.project.evals.route
        if wanted is not None:
            if wanted not in routes:
                raise UsageError(
                    f"evals.route: release {release.id} has no route {wanted!r} (it has {', '.join(routes)})"
                )
            return wanted
        candidates = [name for name, route in routes.items() if route["kind"] != "chat"] or list(routes)
        if len(candidates) != 1:
            raise UsageError(f"evals.route is missing: the app has {', '.join(candidates)}; say which one is evaluated")
        return candidates[0]

    async def _chat(self, release: Release, route: Mapping[str, Any]) -> Target:
        decoding = release.manifest["policy"]["decoding"]
        max_tokens = min(
            release.manifest["models"][route["model"]]["max_out"], release.manifest["policy"]["budgets"]["max_new"]
        )
        generator, prefix = await self.runtimes.chat(release, route)
        return ChatTarget(release.id, generator, prefix, decoding, max_tokens, self.app.clock.monotonic_s)

    def _demand_supervisor(self, release: Release) -> None:
        """Refuse at once what would wait in vain: the supervisor of `up` starts the processes of a release."""
        if needs_processes(release) and not self.supervised():
            raise UnavailableError(
                f"nothing runs the process of {release.id}: `shipway up` does, and it is not running here",
                hint="start it with `shipway up`, then evaluate again",
            )

    async def _wait_healthy(self, target: ProcessTarget, release: Release) -> None:
        names = [f"{name}-{release.id}" for name, route in http_routes(release).items() if route["command"]]
        starts = ProcessStarts(names, self.processes)
        with anyio.move_on_after(_START_TIMEOUT_S):
            said = False
            while not await target.healthy(release.id):
                if not said:
                    self.tell(f"waiting until the process of {release.id} is healthy, {_START_TIMEOUT_S:g} s at most")
                    said = True
                starts.require_hope()
                await anyio.sleep(_POLL_S)
                # An `up` meanwhile takes what it does not know the purpose of for left over.
                await target.start(release.id)
            return
        raise UnavailableError(
            f"the process of {release.id} did not get healthy within {_START_TIMEOUT_S:g} s",
            hint=starts.hint,
        )


@dataclass(frozen=True, slots=True)
class AnswererTarget:
    """A rag release."""

    name: str
    answerer: Answerer
    monotonic_s: Callable[[], float]

    @property
    def digest(self) -> str:
        """Return the release id."""
        return self.name

    async def ask(self, case: Case, *, repeat: int) -> Output:
        """Answer a case as its asker."""
        del repeat
        principal = Principal(TenantId(case.tenant), frozenset(case.groups), _SUBJECT)
        started_s = self.monotonic_s()
        answer = await self.answerer.answer(case.question, principal)
        return output_of(answer, latency_ms=(self.monotonic_s() - started_s) * 1000)


def output_of(answer: Answer, *, latency_ms: float) -> Output:
    """Return an answer from documents as what metrics score."""
    return Output(
        answer=answer.text,
        model_text=answer.model_text,
        citations=tuple(citation.document for citation in answer.citations),
        retrieved=answer.retrieved,
        passages=tuple(passage.text for passage in answer.passages),
        events=answer.events,
        latency_ms=latency_ms,
        tokens_in=answer.usage.tokens_in,
        tokens_out=answer.usage.tokens_out,
    )


@dataclass(frozen=True, slots=True)
class ChatTarget:
    """A release that answers with a model and a prompt alone."""

    name: str
    generator: Generator
    prefix: tuple[Message, ...]
    decoding: Mapping[str, Any]
    max_tokens: int
    monotonic_s: Callable[[], float]

    @property
    def digest(self) -> str:
        """Return the release id."""
        return self.name

    async def ask(self, case: Case, *, repeat: int) -> Output:
        """Put a case to the model, its earlier turns first; repeats differ by their seed where the release samples."""
        seed = self.decoding["seed"]
        started_s = self.monotonic_s()
        made = await self.generator.generate(
            [*self.prefix, *_turns(case), {"role": "user", "content": case.question}],
            max_tokens=self.max_tokens,
            temperature=self.decoding["temperature"],
            seed=None if seed is None else seed + repeat,
            stop=tuple(self.decoding["stop"]),
        )
        return Output(
            answer=made.text,
            model_text=made.text,
            latency_ms=(self.monotonic_s() - started_s) * 1000,
            tokens_in=made.tokens_in,
            tokens_out=made.tokens_out,
        )


def _turns(case: Case) -> list[Message]:
    # Whatever an OpenAI message may hold, tool calls among it, is the engine's to read.
    return [cast("Message", turn) for turn in case.messages]


@dataclass(frozen=True, slots=True)
class HttpTarget:
    """A release that runs as a process of the user's own."""

    name: str
    url: str
    question: HttpQuestion
    answer: JsonPath
    caller: JsonCaller
    timeout_s: float

    @property
    def digest(self) -> str:
        """Return the release id."""
        return self.name

    async def ask(self, case: Case, *, repeat: int) -> Output:
        """Post a case and read the answer out of the reply.

        Raises:
            UnavailableError: the service does not answer, or too late.
            UpstreamError: it answers with an error or without the answer.
        """
        headers = (
            ("content-type", "application/json"),
            ("x-shipway-release", self.name),
            ("x-shipway-conversation", header_text(f"eval-{case.id}-{repeat}")),
        )
        body = orjson.dumps(_with_question(self.question.body, case.question))
        reply = await self.caller.call(HttpCall("POST", self.url, headers, body, self.timeout_s))
        told = ServiceReply.of(self.url, reply)
        costs = CostPaths.of(self.question.usage, self.question.cost_usd)
        try:
            return Output(answer=told.answer(self.answer), **told.measured(costs))
        except NoAnswerError as error:
            raise wrong_shape(self.url, str(error)) from error


def answer_path(question: HttpQuestion) -> JsonPath:
    """Return where the answer of a service stands.

    Raises:
        UsageError: the project file names no path.
    """
    try:
        return JsonPath(question.answer)
    except ValueError as error:
        raise UsageError(f"evals.http.answer: {error}") from error


def _with_question(value: Any, question: str) -> Any:
    """Return a body with the question in its place; other braces are the service's own."""
    if isinstance(value, str):
        return value.replace("{question}", question)
    if isinstance(value, dict):
        return {key: _with_question(item, question) for key, item in value.items()}
    if isinstance(value, list):
        return [_with_question(item, question) for item in value]
    return value
