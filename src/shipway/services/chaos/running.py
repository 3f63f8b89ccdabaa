"""A chaos run: one experiment after another, each on the processes that run by then; `shipway chaos` calls it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import anyio

from shipway.chaos.judging import ExperimentResult
from shipway.chaos.plan import ChaosPlan, Kind
from shipway.core.clock import Clock
from shipway.core.errors import ForbiddenError, StoreError
from shipway.core.ports import RecordStore
from shipway.rollouts.model import TERMINAL
from shipway.services.application import Application
from shipway.services.chaos.choosing import Grounds, Machine, chosen
from shipway.services.chaos.experiment import ChaosParts, not_done, run_experiment

_RECORDS_WITHIN_S = 40.0
"""Segments are sealed after seconds and collected in turn; a worker that died leaves its last one to the others."""
_POLL_S = 0.5
_ROLLOUT = "rollout"
_OVER = frozenset(state.value for state in TERMINAL)


@dataclass(frozen=True, slots=True)
class ChaosRun:
    """What a run works on. `grounds` looks anew before each experiment: processes were replaced meanwhile."""

    plan: ChaosPlan
    parts: ChaosParts
    machine: Machine
    grounds: Callable[[], Grounds]
    others: tuple[str, ...] = ()


async def run_chaos(run: ChaosRun) -> list[ExperimentResult]:
    """Run the experiments of a plan, and tell of those that cannot be done here why."""
    results = []
    for experiment in run.plan.experiments:
        try:
            fault = chosen(experiment, run.grounds(), run.machine)
        except ForbiddenError as error:
            fault = error.message
        if isinstance(fault, str):
            results.append(not_done(experiment, fault))
            continue
        is_engine = experiment.kind in {Kind.ENGINE_ERRORS, Kind.ENGINE_SLOW, Kind.ENGINE_STUCK}
        parts = replace(run.parts, others=run.others if is_engine else ())
        results.append(await run_experiment(experiment, fault, run.plan, parts))
    return results


async def missing_records(records: RecordStore, clock: Clock, ids: Sequence[str]) -> tuple[str, ...] | None:
    """Return which requests have no record after some time; None when the store cannot be read."""
    waiting = [name for name in ids if name]
    until_s = clock.monotonic_s() + _RECORDS_WITHIN_S
    while waiting:
        try:
            waiting = [name for name in waiting if await records.find(name) is None]
        except StoreError:
            return None
        if not waiting or clock.monotonic_s() > until_s:
            break
        await anyio.sleep(_POLL_S)
    return tuple(waiting)


@dataclass(slots=True)
class RolloutEye:
    """Tells the state of the rollout that was under way when it was first seen, later too; empty without one."""

    app: Application
    _name: str = ""

    async def state(self) -> str:
        """Return its state now."""
        documents = self.app.state.documents
        if not self._name:
            for name, body, _ in await documents.list(_ROLLOUT):
                if body.get("environment") == self.app.environment and body.get("state") not in _OVER:
                    self._name = name
        found = await documents.get(_ROLLOUT, self._name) if self._name else None
        state = "" if found is None else str(found[0].get("state", ""))
        if state in _OVER:
            # It has been told; the next look is for another one.
            self._name = ""
        return state
