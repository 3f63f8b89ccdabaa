"""Limits exact over all gateway workers of a host; the wiring runs `run` beside the server.

What is lost and when: a killed worker, even all of them, loses nothing but the reservations of its own requests, which
come back within RECLAIM_S. A machine that loses power loses what was spent in the last FLUSH_S and in requests that
were running; rates start anew.
"""

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path

from shipway.adapters.shared_limits.budgets import BudgetStore
from shipway.adapters.shared_limits.resets import ResetLog, clear
from shipway.adapters.shared_limits.table import SLOTS, LimitTable
from shipway.core.clock import Clock
from shipway.core.errors import ConflictError
from shipway.gateway.ledger import Hold, Ledger, Quota
from shipway.gateway.ports import EventNote
from shipway.gateway.quota import Bucket, BudgetAlert, Excess, Standing

RECLAIM_S = 1.0
FLUSH_S = 2.0
_ATTEMPTS = 20


class SharedLimits:
    """Implements `gateway.quota.Limits` over a `LimitTable`."""

    def __init__(
        self,
        folder: Path,
        clock: Clock,
        *,
        note: EventNote,
        on_alert: Callable[[BudgetAlert], None] = lambda _alert: None,
        budgets: BudgetStore | None = None,
        slots: int = SLOTS,
    ) -> None:
        self._table = LimitTable(folder, slots=slots)
        self._resets = ResetLog(folder)
        self._note = note
        self._budgets = budgets
        self._flush_failed = False
        self._ledger = Ledger(
            self._table.storage, clock, on_alert=on_alert, seed=budgets.known if budgets else lambda _name: None
        )
        # The counting itself, without a step between: both are asked for each request.
        self.reserve_now = self._ledger.reserve
        self.settle = self._ledger.settle

    @property
    def ledger(self) -> Ledger:
        """Return the counting without the port's coroutines."""
        return self._ledger

    def prepared(self, buckets: Sequence[Bucket]) -> Quota:
        """Return the buckets with their places in the table."""
        return self._ledger.quota(buckets)

    async def reserve(self, quota: Quota, tokens: int, nano_usd: int) -> Hold | Excess:
        """Take from all buckets or from none; never waits."""
        return self._ledger.reserve(quota, tokens, nano_usd)

    def release(self, held: Hold) -> None:
        """Give everything back."""
        self._ledger.release(held)

    async def standings(self, quota: Quota) -> tuple[Standing, ...]:
        """Return how far each bucket is used."""
        return self._ledger.standings(quota)

    async def reset(self, buckets: Sequence[Bucket]) -> None:
        """Set what is used of buckets to nothing, for all workers; what runs keeps what it has reserved.

        Raises:
            ConflictError: the counters kept changing hands, or the store kept changing; try again.
        """
        named = frozenset(buckets)
        quota = self.prepared(buckets)
        periods = {name: period for name, period, *_ in self._ledger.budgets() if name in {b.name for b in buckets}}
        # Before, so that nobody brings back what they knew; after, so that what was read in between counts for less.
        self._resets.add(periods)
        for _ in range(_ATTEMPTS):
            if clear(self._table.storage, quota, named):
                break
            quota = self.prepared(buckets)
        else:
            raise ConflictError("the counters kept changing hands; try again")
        self._resets.add(periods)
        if self._budgets is None:
            return
        for _ in range(_ATTEMPTS):
            if await self._budgets.save(self._ledger.budgets()):
                return
        raise ConflictError("the store kept changing; try again")

    def reclaim(self) -> None:
        """Give back what killed workers held."""
        found = self._table.reclaim_dead()
        if found:
            self._note("limits_reclaimed", workers=found)

    async def flush(self) -> None:
        """Write what budgets have spent to the store; a store that fails is tried again with the next flush."""
        if self._budgets is None:
            return
        try:
            await self._budgets.save(self._ledger.budgets())
        except Exception as error:  # noqa: BLE001 - what cannot be saved is counted in memory; serving goes on
            if not self._flush_failed:
                self._note("budgets_not_saved", error=getattr(error, "message", "") or repr(error))
            self._flush_failed = True
            return
        self._flush_failed = False

    async def run(self) -> None:
        """Reclaim and flush until cancelled."""
        waits = 0.0
        while True:
            await asyncio.sleep(RECLAIM_S)
            self.reclaim()
            waits += RECLAIM_S
            if waits >= FLUSH_S:
                waits = 0.0
                await self.flush()

    async def close(self) -> None:
        """Flush a last time and let go of the table."""
        await self.flush()
        self._ledger.close()
        self._table.close()
