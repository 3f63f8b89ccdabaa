"""One experiment: usual state, fault, observation, the fault taken away whatever happens, usual state again."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace

import anyio
import orjson

from shipway.chaos.judging import ExperimentResult, Observation, Observed, is_steady, judge, served_share
from shipway.chaos.plan import NO_REPLY, OK, ChaosPlan, Experiment
from shipway.core.clock import Clock
from shipway.core.errors import DeadlineError, ShipwayError, UnavailableError
from shipway.evals.ports import HttpCall, HttpReply, JsonCaller
from shipway.services.chaos.ports import Fault
from shipway.services.chaos.undoing import Journal

_IN_A_ROW = 10
"""Several workers must have recovered, and each request meets any one of them."""
_RETRY_S = 0.2
_MARGIN_S = 2.0
_ERROR_KEYS = frozenset({"message", "type", "code"})


@dataclass(frozen=True, slots=True)
class Asked:
    """Whom requests go to: the gateway's address, and the headers with the key."""

    url: str
    headers: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class ChaosParts:
    """What an experiment needs.

    `others` are routes that do not need what is broken. `unrecorded` returns which of these requests have no record,
    None when nobody can look; `rollout` the state of the one under way, empty without one.
    """

    caller: JsonCaller
    asked: Asked
    journal: Journal
    clock: Clock
    unrecorded: Callable[[Sequence[str]], Awaitable[tuple[str, ...] | None]]
    rollout: Callable[[], Awaitable[str]]
    others: tuple[str, ...] = ()
    sleep: Callable[[float], Awaitable[None]] = anyio.sleep
    tell: Callable[[str], None] = lambda _line: None


async def run_experiment(experiment: Experiment, fault: Fault, plan: ChaosPlan, parts: ChaosParts) -> ExperimentResult:
    """Run one experiment; a fault that cannot be made or mended is a result with a problem."""
    run = _Run(experiment, fault, plan, parts)
    try:
        return await run.whole()
    except ShipwayError as error:
        return ExperimentResult(experiment.kind, problem=error.message, asked_for=experiment.asked_for)


class _Run:
    def __init__(self, experiment: Experiment, fault: Fault, plan: ChaosPlan, parts: ChaosParts) -> None:
        self._experiment = experiment
        self._fault = fault
        self._plan = plan
        self._parts = parts
        self._asked = 0

    async def whole(self) -> ExperimentResult:
        """Prepare, observe, clean up."""
        # Before anything is done: whoever kills this run leaves a note of how to mend it.
        self._parts.journal.write(self._fault.undo)
        try:
            await self._fault.prepare()
            return await self._observed()
        finally:
            with anyio.CancelScope(shield=True):
                await self._fault.clean()
                # Only now: what could not be mended stays written down for the next run.
                self._parts.journal.clear()

    async def _observed(self) -> ExperimentResult:
        parts, plan = self._parts, self._plan
        rollout_before = await parts.rollout()
        before, _ = await self._ask_for(plan.steady_s)
        if not is_steady(before):
            worst = next((item for item in before if item.status != OK), None)
            said = f"; the first said {worst.status or 'nothing'} {worst.problem}".rstrip() if worst else ""
            share = f"{served_share(before):.0%} were served{said}"
            raise UnavailableError(f"nothing was broken, because it is not in its usual state: {share}")
        parts.tell(f"{self._experiment.kind.value}: broken for {self._experiment.fault_s:g} s")
        try:
            await self._fault.inject()
            during, others = await self._ask_for(self._experiment.fault_s, parts.others)
        finally:
            with anyio.CancelScope(shield=True):
                await self._fault.remove()
        recovered_s, after = await self._usual_again()
        observed = Observed(before, during, after, others, recovered_s, None, rollout_before, await parts.rollout())
        answered = [item.request_id for items in (before, during, after, others) for item in items if item.status == OK]
        return judge(self._experiment, replace(observed, unrecorded=await parts.unrecorded(answered)))

    async def _ask_for(
        self, seconds: float, others: Sequence[str] = ()
    ) -> tuple[tuple[Observation, ...], tuple[Observation, ...]]:
        """Ask at an even rate, whatever becomes of the requests, and return when the last of them has ended."""
        found: list[Observation] = []
        beside: list[Observation] = []
        began_s = self._parts.clock.monotonic_s()

        async def one(route: str, kept: list[Observation]) -> None:
            kept.append(await self._ask(route))

        async with anyio.create_task_group() as group:
            for number in range(max(round(seconds * self._plan.rate), 1)):
                due_s = began_s + number / self._plan.rate
                await self._parts.sleep(max(due_s - self._parts.clock.monotonic_s(), 0.0))
                group.start_soon(one, self._plan.route, found)
                for route in others:
                    group.start_soon(one, route, beside)
        return tuple(found), tuple(beside)

    async def _usual_again(self) -> tuple[float | None, tuple[Observation, ...]]:
        """Return how long it took until the usual state was back, None when it took too long, and the last requests.

        A relapse within the time is no recovery: a circuit breaker may still open for failures of before.
        """
        began_s = self._parts.clock.monotonic_s()
        while True:
            recovered_s = await self._recovered(began_s)
            after, _ = await self._ask_for(self._plan.steady_s)
            passed_s = self._parts.clock.monotonic_s() - began_s
            if recovered_s is None or is_steady(after) or passed_s > self._experiment.promises.recovers_within_s:
                return recovered_s, after

    async def _recovered(self, began_s: float) -> float | None:
        """Return after what time requests were served in a row, None when it took too long."""
        limit_s = self._experiment.promises.recovers_within_s
        in_a_row, first_s = 0, 0.0
        while True:
            at_s = self._parts.clock.monotonic_s() - began_s
            if at_s > limit_s and not in_a_row:
                return None
            is_served = (await self._ask(self._plan.route)).status == OK
            first_s = (first_s if in_a_row else at_s) if is_served else 0.0
            in_a_row = in_a_row + 1 if is_served else 0
            if in_a_row == _IN_A_ROW:
                return first_s
            await self._parts.sleep(_RETRY_S)

    async def _ask(self, route: str) -> Observation:
        parts = self._parts
        self._asked += 1
        # Another question each time: an answer from a cache would tell nothing about what is broken.
        question = f"{self._plan.prompt} ({self._experiment.kind.value} {self._asked})"
        body = orjson.dumps({"model": route, "messages": [{"role": "user", "content": question}]})
        timeout_s = self._experiment.promises.answered_within_s + _MARGIN_S
        began_s = parts.clock.monotonic_s()
        try:
            reply = await parts.caller.call(HttpCall("POST", parts.asked.url, parts.asked.headers, body, timeout_s))
        except DeadlineError:
            problem = f"nothing within {timeout_s:g} s"
        except UnavailableError as error:
            problem = error.message.partition(": ")[2] or error.message
        else:
            return _observation(route, reply)
        elapsed_ms = (parts.clock.monotonic_s() - began_s) * 1000.0
        return Observation(route, NO_REPLY, elapsed_ms, problem=problem[:80])


def _observation(route: str, reply: HttpReply) -> Observation:
    code, shaped = ("", False) if reply.status == OK else _error(reply.body)
    return Observation(
        route,
        reply.status,
        reply.total_ms,
        reply.headers.get("x-request-id", ""),
        "retry-after" in reply.headers,
        shaped,
        code,
    )


def _error(body: bytes) -> tuple[str, bool]:
    """Return the code of an error and whether it has OpenAI's shape."""
    try:
        error = orjson.loads(body)["error"]
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return "", False
    if not isinstance(error, dict):
        return "", False
    return str(error.get("code") or ""), error.keys() >= _ERROR_KEYS and isinstance(error["message"], str)


def not_done(experiment: Experiment, reason: str) -> ExperimentResult:
    """Return the result of an experiment that cannot be done here."""
    return ExperimentResult(experiment.kind, reason=reason, asked_for=experiment.asked_for)
