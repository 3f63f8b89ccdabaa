"""Sending to an engine with breaker and retries, all of it before the first byte of a reply is passed on.

Source for the waits: full jitter, uniform in [0, min(cap, first · 2^n)] (Brooker, "Exponential Backoff And Jitter").
"""

import asyncio
from collections.abc import Awaitable, Callable
from types import TracebackType
from urllib.parse import urlsplit

from shipway.core.clock import Clock
from shipway.core.errors import DeadlineError, UnavailableError
from shipway.gateway.breaker import CircuitBreaker
from shipway.gateway.model import GatewaySettings
from shipway.gateway.patience import Patience, Watch
from shipway.gateway.ports import (
    Begun,
    EngineAbsentError,
    EngineBrokenError,
    EngineClient,
    EngineConnectError,
    EngineLostError,
    EngineRequest,
    EngineResponse,
)
from shipway.gateway.replies import RefusedError, retry_after
from shipway.gateway.retries import ExtraBudget

# 429 is not here: asking the same engine again is what it complains about.
_PASSING = frozenset({502, 503, 504})
_SERVER_ERROR = 500
_GONE = (EngineAbsentError, EngineLostError)


class EngineCalls:
    """The gateway's only way to an engine; one breaker for each release on each engine address.

    Releases share engines. A bad one makes an engine fail as a broken engine does: were breaker and retry budget
    common, its failures would turn away the users of the others, and look like theirs.
    """

    def __init__(
        self,
        client: EngineClient,
        settings: GatewaySettings,
        clock: Clock,
        *,
        uniform: Callable[[], float],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._client = client
        self._settings = settings
        self.clock = clock
        self.uniform = uniform
        self._budgets: dict[str, ExtraBudget] = {}
        self._sleep = sleep
        self._breakers: dict[tuple[str, str], CircuitBreaker] = {}
        self._peers: dict[str, list[CircuitBreaker]] = {}
        self.streams_open = 0
        self.retried = 0
        self.hedges = {"sent": 0, "won": 0}
        self.watch = Watch()

    def obey(self, settings: GatewaySettings) -> None:
        """Ask by other settings from now on; breakers and the counts of the retry budget stay."""
        self._settings = settings
        for budget in self._budgets.values():
            budget.share = settings.retry_share

    def breaker(self, engine: str, release: str = "") -> CircuitBreaker:
        """Return the breaker of a release on an engine address."""
        key = (engine, release)
        if key not in self._breakers:
            settings = self._settings
            self._breakers[key] = CircuitBreaker(
                self.clock,
                failures=settings.breaker_failures,
                open_s=settings.breaker_open_s,
                first_s=settings.breaker_first_s,
                peers=self._peers.setdefault(engine, []),
            )
            self._peers[engine].append(self._breakers[key])
        return self._breakers[key]

    def forget(self, release: str) -> None:
        """Drop what is known of a release that is served no longer: what it is served by later is another process."""
        for key in [key for key in self._breakers if key[1] == release]:
            self._peers[key[0]].remove(self._breakers.pop(key))
        self._budgets.pop(release, None)

    def _retries(self, release: str) -> ExtraBudget:
        budget = self._budgets.get(release)
        if budget is None:
            budget = self._budgets[release] = ExtraBudget(self.clock, self._settings.retry_share)
        return budget

    async def send(
        self, engine: str, request: EngineRequest, *, replayable: bool = True, admitted: list[int] | None = None
    ) -> EngineResponse:
        """Return the first reply worth passing on; the caller closes it and settles the breaker.

        `admitted` takes the breaker's generation of each attempt.

        Raises:
            EngineConnectError: the last attempt found no engine.
            EngineBrokenError: the last attempt's connection ended without a reply.
            RefusedError: 503, the breaker is open.
        """
        breaker, begun = self.breaker(engine, request.release), request.begun
        retries = self._retries(request.release)
        if begun is None:
            retries.request()
        last = self._settings.max_attempts if replayable else 1
        for attempt in range(1, last + 1):
            if begun is None:
                self._admit(breaker)
            generation = breaker.generation if begun is None else begun.generation
            if admitted is not None:
                admitted.append(generation)
            try:
                response = await (self._client.send(request) if begun is None else _arrived(begun))
            except (EngineConnectError, EngineBrokenError) as error:
                breaker.failed(generation, gone=isinstance(error, _GONE))
                if attempt >= last or not retries.take():
                    raise
            except BaseException:
                breaker.abandoned(generation)
                raise
            else:
                if attempt >= last or not self._again(response) or not retries.take():
                    return response
                breaker.failed(generation)
                response.close()
            begun = None
            self.retried += 1
            await self._sleep(self._pause_s(attempt))
        raise UnavailableError("no attempt was made; set max_attempts to 1 or more")

    def count_request(self, release: str) -> None:
        """Count a request that is sent without `send` against its release's retry budget."""
        self._retries(release).request()

    def reply(
        self, engine: str, request: EngineRequest, patience: Patience, *, replayable: bool = True
    ) -> "EngineCall":
        """Return a call, to be entered with `async with`."""
        return EngineCall(self, engine, request, patience, replayable=replayable)

    def breaker_states(self) -> dict[str, int]:
        """Return 0 (closed), 1 (half open) or 2 (open) for each engine address: of its releases', the worst."""
        states: dict[str, int] = {}
        for (engine, _), breaker in self._breakers.items():
            shown = _shown(engine)
            states[shown] = max(states.get(shown, 0), breaker.state)
        return states

    def may_retry(self, release: str) -> bool:
        """Return whether one more try fits into a release's retry budget, and count it."""
        taken = self._retries(release).take()
        self.retried += taken
        return taken

    async def healthy(self, url: str, *, timeout_s: float) -> bool:
        """Return whether a health address answers 2xx in time."""
        try:
            async with asyncio.timeout(timeout_s):
                response = await self._client.send(EngineRequest("GET", url, connect_timeout_s=timeout_s))
                response.close()
        except (UnavailableError, TimeoutError):
            return False
        return response.status // 100 == 2  # noqa: PLR2004

    def _admit(self, breaker: CircuitBreaker) -> None:
        wait_s = breaker.wait_s()
        if wait_s:
            message = "the engine has failed repeatedly and is left alone for a moment; try again"
            raise RefusedError(503, message, code="engine_resting", retry_after=retry_after(wait_s))

    def _again(self, response: EngineResponse) -> bool:
        if response.status not in _PASSING:
            return False
        asked = dict(response.headers).get("retry-after", "")
        # An engine that names a time beyond our patience is passed on, so that the caller learns it.
        return not asked.isdigit() or float(asked) <= self._settings.backoff_cap_s

    def _pause_s(self, attempt: int) -> float:
        longest_s = min(self._settings.backoff_cap_s, self._settings.backoff_first_s * 2.0 ** (attempt - 1))
        return self.uniform() * longest_s


class EngineCall:
    """A call to an engine: entered, it holds a reply within its patience; left, it closes it, settles the breaker."""

    __slots__ = ("_admitted", "_breaker", "_calls", "_engine", "_patience", "_replayable", "_request", "_response")

    def __init__(
        self, calls: EngineCalls, engine: str, request: EngineRequest, patience: Patience, *, replayable: bool
    ) -> None:
        self._calls = calls
        self._engine = engine
        self._request = request
        self._patience = patience
        self._replayable = replayable
        self._breaker = calls.breaker(engine, request.release)
        self._admitted: list[int] = []
        self._response: EngineResponse | None = None

    async def __aenter__(self) -> EngineResponse:
        self._patience.begin()
        try:
            self._response = await self._calls.send(
                self._engine, self._request, replayable=self._replayable, admitted=self._admitted
            )
        except BaseException as error:
            self._leave(error)
            raise
        return self._response

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._leave(error)
        finally:
            if self._response is not None:
                self._response.close()

    def _leave(self, error: BaseException | None) -> None:
        # None was admitted when the breaker refused.
        generation = self._admitted[-1] if self._admitted else -1
        try:
            self._patience.end(error)
        except DeadlineError:
            if self._patience.is_short:
                # A caller in a hurry must not take the engine from all the others.
                self._breaker.abandoned(generation)
            else:
                self._breaker.failed(generation)
            raise
        if self._response is None:
            # `send` has counted the failure already.
            return
        # A 5xx is the engine's failure, and so is a reply that breaks off; all else that it answered is a success.
        if isinstance(error, EngineBrokenError | DeadlineError) or self._response.status >= _SERVER_ERROR:
            self._breaker.failed(generation, gone=isinstance(error, _GONE))
        else:
            self._breaker.succeeded(generation)


async def _arrived(begun: Begun) -> EngineResponse:
    """Return the reply to a request that is on its way already."""
    try:
        await begun.connection.arrived()
    except BaseException:
        begun.connection.abort()
        raise
    return begun.connection


def _shown(engine: str) -> str:
    """Return an engine's address as metrics show it."""
    return urlsplit(engine).netloc.rpartition("@")[2] or engine
