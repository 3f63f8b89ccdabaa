"""Limits of one process: a mode for a single worker without a project folder, and the tests' fake."""

from array import array
from collections.abc import Callable, Sequence

from shipway.core.clock import Clock
from shipway.gateway.ledger import FIXED, STRIPES, Hold, Ledger, Quota, Storage
from shipway.gateway.quota import Bucket, BudgetAlert, Excess, Standing

_SLOTS = 4096


class MemoryLimits:
    """Implements `gateway.quota.Limits`; forgets everything with the process."""

    def __init__(
        self, clock: Clock, *, on_alert: Callable[[BudgetAlert], None] = lambda _alert: None, slots: int = _SLOTS
    ) -> None:
        storage = Storage(
            cells=array("d", bytes(8 * slots * (FIXED + 1))),
            tags=array("Q", bytes(8 * (slots + 1))),
            slots=slots,
            column=0,
            # Nobody else is there: `bool` is the cheapest thing that does nothing.
            handles=(0,) * STRIPES,
            lock=bool,
            unlock=bool,
            healed=bool,
        )
        self._ledger = Ledger(storage, clock, on_alert=on_alert)

    def prepared(self, buckets: Sequence[Bucket]) -> Quota:
        """Return the buckets with their places in the table."""
        return self._ledger.quota(buckets)

    async def reserve(self, quota: Quota, tokens: int, nano_usd: int) -> Hold | Excess:
        """Take from all buckets or from none."""
        return self._ledger.reserve(quota, tokens, nano_usd)

    def reserve_now(self, quota: Quota, tokens: int, nano_usd: int) -> Hold | Excess:
        """Take from all buckets or from none, without a coroutine."""
        return self._ledger.reserve(quota, tokens, nano_usd)

    def settle(self, held: Hold, tokens: int, nano_usd: int) -> None:
        """Replace what was reserved by what was used."""
        self._ledger.settle(held, tokens, nano_usd)

    def release(self, held: Hold) -> None:
        """Give everything back."""
        self._ledger.release(held)

    async def standings(self, quota: Quota) -> tuple[Standing, ...]:
        """Return how far each bucket is used."""
        return self._ledger.standings(quota)
