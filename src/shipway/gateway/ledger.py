"""The counting itself, over plain cells: an array of this process, or memory that all workers of a host share.

`adapters/memory` and `adapters/shared_limits` bring the cells and the lock. One turn of the lock covers all buckets of
a request, so that it takes from all of them or from none.

A row of cells for each bucket: when a rate is drained (or what a budget has spent), what is reserved in total, the
budget's period, the alerts given, and for each worker its own share of what is reserved. The last lets a survivor give
back what a killed worker held. Every amount is a whole number below 2**53, so the cells' floats are exact.
"""
# ruff: noqa: FURB136 - `min` and `max` take three times as long as a condition, on the path of every request

import hashlib
from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from shipway.core.clock import Clock
from shipway.gateway.calendar import MONTHS, Calendar
from shipway.gateway.quota import ALERT_PERCENTS, Bucket, BudgetAlert, Excess, LimitsLostError, Measure, Standing

WAYS = 8
"""Slots in which a bucket may stand: a set is searched whole, so nothing is ever moved."""
STRIPES = 8
"""Locks; the buckets of one request share one."""
FIXED = 4
"""Rows before the workers' own: due or spent, reserved, period, alerts."""

# A caller who waited exactly as told must not fail on rounding.
_SLACK_S = 1e-6
_PLACE_WAIT_S = 1.0
_ROUNDING = 1e-6
_FIRST_ALERT = ALERT_PERCENTS[0]
_MONEY = (Measure.DAILY_USD, Measure.MONTHLY_USD)

RequestRow = tuple[int, float, float, Bucket]
"""Due cell; seconds a request; seconds of due time beyond which nothing passes."""
TokenRow = tuple[int, int, int, float, float, Bucket]
"""Due cell, reserved cell, this worker's own; seconds a token; capacity."""
PlaceRow = tuple[int, int, float, Bucket]
"""Reserved cell, this worker's own; capacity."""
MoneyRow = tuple[int, int, int, float, bool, Bucket]
"""Spent cell, reserved cell, this worker's own; capacity; whether it counts by the month."""


class Cells(Protocol):
    """Floats by number: an array, or a view of shared memory."""

    def __getitem__(self, index: int, /) -> float:
        """Return one."""
        ...

    def __setitem__(self, index: int, value: float, /) -> None:
        """Write one."""
        ...


class Tags(Protocol):
    """Whole numbers by number."""

    def __getitem__(self, index: int, /) -> int:
        """Return one."""
        ...

    def __setitem__(self, index: int, value: int, /) -> None:
        """Write one."""
        ...


class TableFullError(LimitsLostError):
    """Every slot where the bucket could stand is in use."""


@dataclass(frozen=True, slots=True)
class Storage:
    """Cells and the locks around them.

    `cells` has `slots` x (FIXED + workers) floats, row after row; `tags` says whose a slot is, 0 nobody's, and after
    the slots holds the generation, which changes when a slot changes hands. `lock` and `unlock` take one of the STRIPES
    `handles`; `lock` returns something true when its last holder died with it. `column` is this worker's.
    """

    cells: Cells
    tags: Tags
    slots: int
    column: int
    handles: Sequence[Any]
    lock: Callable[[Any], object]
    unlock: Callable[[Any], object]
    healed: Callable[[Any], object]


class Quota:
    """Buckets with their places in the table."""

    __slots__ = ("buckets", "day", "generation", "handle", "holds", "money", "places", "requests", "tokens")

    def __init__(self, buckets: Sequence[Bucket], handle: Any) -> None:
        self.buckets = tuple(buckets)
        self.handle = handle
        self.generation = -1
        self.day = -1
        self.holds = any(bucket.measure is not Measure.REQUESTS for bucket in buckets)
        self.requests: tuple[RequestRow, ...] = ()
        self.tokens: tuple[TokenRow, ...] = ()
        self.places: tuple[PlaceRow, ...] = ()
        self.money: tuple[MoneyRow, ...] = ()


Hold = tuple[Quota, int, int, float]
"""What a request has reserved: its quota, tokens, nano-dollars, and when. A plain tuple, because one is made for each
request."""


class Ledger:
    """Reserves and settles in one process's view of the cells; never waits but for the lock.

    `seed` returns (period, spent, alerts) of a budget known from elsewhere. `on_alert` is called outside of the lock.
    """

    def __init__(
        self,
        storage: Storage,
        clock: Clock,
        *,
        on_alert: Callable[[BudgetAlert], None],
        seed: Callable[[str], tuple[int, int, int] | None] = lambda _name: None,
    ) -> None:
        self._storage = storage
        self._cells: Cells = storage.cells
        self._tags: Tags = storage.tags
        self._slots = storage.slots
        self._lock = storage.lock
        self._unlock = storage.unlock
        self._monotonic_s = clock.monotonic_s
        self._calendar = Calendar(clock)
        self._on_alert = on_alert
        self._seed = seed
        self._budgets: dict[str, tuple[Bucket, int]] = {}

    def close(self) -> None:
        """Let go of the cells; who asks afterwards gets an `IndexError`."""
        self._cells, self._tags = array("d"), array("Q")

    # On the path of every request.

    def reserve(self, quota: Quota, tokens: int, nano_usd: int) -> Hold | Excess:
        """Take from all buckets or from none."""
        if quota.generation != self._tags[self._slots]:
            self._place(quota)
        now_s = self._monotonic_s()
        if self._lock(quota.handle):
            self._storage.healed(quota.handle)
        try:
            excess = self._take(quota, tokens, nano_usd, now_s)
        finally:
            self._unlock(quota.handle)
        if excess is None:
            return quota, tokens, nano_usd, now_s
        if excess.bucket.measure in _MONEY:
            self._mark_exhausted(excess.bucket)
        return excess

    def _take(self, quota: Quota, tokens: int, nano_usd: int, now_s: float) -> Excess | None:
        """Take from one bucket after the other; what was taken before one that refuses is put back."""
        cells = self._cells
        for slot, step_s, room_s, bucket in quota.requests:
            due_s = cells[slot]
            if due_s <= now_s:
                cells[slot] = now_s + step_s
            elif due_s - now_s > room_s:
                return self._put_back(quota, tokens, nano_usd, Excess(bucket, due_s - now_s - room_s))
            else:
                cells[slot] = due_s + step_s
        for slot, reserved, mine, step_s, capacity, bucket in quota.tokens:
            held = tokens if tokens < capacity else capacity
            level_s = cells[slot] - now_s
            before = cells[reserved]
            wait_s = (level_s if level_s > 0.0 else 0.0) + (before + held - capacity) * step_s
            if wait_s > _SLACK_S:
                return self._put_back(quota, tokens, nano_usd, Excess(bucket, wait_s))
            cells[reserved] = before + held
            cells[mine] += held
        for reserved, mine, capacity, bucket in quota.places:
            before = cells[reserved]
            if before >= capacity:
                return self._put_back(quota, tokens, nano_usd, Excess(bucket, _PLACE_WAIT_S))
            cells[reserved] = before + 1.0
            cells[mine] += 1.0
        if quota.money:
            return self._take_money(quota, tokens, nano_usd, now_s)
        return None

    def _take_money(self, quota: Quota, tokens: int, nano_usd: int, now_s: float) -> Excess | None:
        cells = self._cells
        self._turn_quota(quota, now_s)
        for slot, reserved, mine, capacity, monthly, bucket in quota.money:
            before = cells[reserved]
            if cells[slot] + before + nano_usd > capacity:
                return self._put_back(quota, tokens, nano_usd, Excess(bucket, self._calendar.left_s(monthly=monthly)))
            cells[reserved] = before + nano_usd
            cells[mine] += nano_usd
        return None

    def _put_back(self, quota: Quota, tokens: int, nano_usd: int, excess: Excess) -> Excess:
        """Undo what was taken before the bucket that refuses; the lock is still held, so nobody has seen it."""
        cells = self._cells
        for slot, step_s, _room_s, bucket in quota.requests:
            if bucket is excess.bucket:
                return excess
            cells[slot] -= step_s
        for _slot, reserved, mine, _step_s, capacity, bucket in quota.tokens:
            if bucket is excess.bucket:
                return excess
            held = min(capacity, tokens)
            cells[reserved] -= held
            cells[mine] -= held
        for reserved, mine, _capacity, bucket in quota.places:
            if bucket is excess.bucket:
                return excess
            cells[reserved] -= 1.0
            cells[mine] -= 1.0
        for _slot, reserved, mine, _capacity, _monthly, bucket in quota.money:
            if bucket is excess.bucket:
                return excess
            cells[reserved] -= nano_usd
            cells[mine] -= nano_usd
        return excess

    def settle(self, hold: Hold, tokens: int, nano_usd: int) -> None:
        """Replace what was reserved by what was used."""
        quota, held_tokens, held_nano_usd, _at_s = hold
        if not quota.holds:
            return
        if quota.generation != self._tags[self._slots]:
            self._place(quota)
        cells = self._cells
        now_s = self._monotonic_s()
        alerts = None
        if self._lock(quota.handle):
            self._storage.healed(quota.handle)
        try:
            # Used first, reserved second: who is killed in between has counted too much, never too little.
            for slot, reserved, mine, step_s, capacity, _bucket in quota.tokens:
                held = held_tokens if held_tokens < capacity else capacity
                due_s = cells[slot]
                cells[slot] = (due_s if due_s > now_s else now_s) + tokens * step_s
                cells[reserved] -= held
                cells[mine] -= held
            for reserved, mine, _capacity, _bucket in quota.places:
                cells[reserved] -= 1.0
                cells[mine] -= 1.0
            if quota.money:
                alerts = self._spend(quota, held_nano_usd, nano_usd, now_s)
        finally:
            self._unlock(quota.handle)
        if alerts:
            for alert in alerts:
                self._on_alert(alert)

    def release(self, hold: Hold) -> None:
        """Give everything back; of the request's share of a rate what has not drained since."""
        self.settle(hold, 0, 0)
        quota, _tokens, _nano_usd, at_s = hold
        if not quota.requests:
            return
        if quota.generation != self._tags[self._slots]:
            self._place(quota)
        elapsed_s = self._monotonic_s() - at_s
        if self._lock(quota.handle):
            self._storage.healed(quota.handle)
        try:
            for slot, step_s, _room_s, _bucket in quota.requests:
                # Whether the rate was idle since then is not known; to count what drained twice would open the gate.
                self._cells[slot] -= max(0.0, step_s - elapsed_s)
        finally:
            self._unlock(quota.handle)

    # Money.

    def _turn_quota(self, quota: Quota, now_s: float) -> None:
        """Begin a quota's new periods when the day is another than at its last request."""
        calendar = self._calendar
        calendar.glance(now_s)
        if quota.day != calendar.day:
            self._turn(quota.money)
            quota.day = calendar.day

    def _turn(self, rows: Sequence[MoneyRow]) -> None:
        """Begin a new period when it has come; a clock that was set back does not bring the old one back."""
        cells, slots, calendar = self._cells, self._slots, self._calendar
        for slot, _reserved, _mine, _capacity, monthly, _bucket in rows:
            period = calendar.month if monthly else calendar.day
            if cells[2 * slots + slot] < period:
                cells[slot] = 0.0
                cells[2 * slots + slot] = period
                cells[3 * slots + slot] = 0.0

    def _spend(self, quota: Quota, held: int, spent: int, now_s: float) -> list[BudgetAlert] | None:
        cells = self._cells
        alerts: list[BudgetAlert] | None = None
        self._turn_quota(quota, now_s)
        for slot, reserved, mine, capacity, _monthly, bucket in quota.money:
            now_spent = cells[slot] + spent
            cells[slot] = now_spent
            cells[reserved] -= held
            cells[mine] -= held
            if now_spent * 100.0 >= capacity * _FIRST_ALERT:
                alerts = (alerts or []) + self._marks(slot, bucket, int(now_spent * 100 // capacity))
        return alerts

    def _marks(self, slot: int, bucket: Bucket, percent: int) -> list[BudgetAlert]:
        at = 3 * self._slots + slot
        given = int(self._cells[at])
        found = []
        for bit, mark in enumerate(ALERT_PERCENTS):
            if percent >= mark and not given & 1 << bit:
                given |= 1 << bit
                found.append(BudgetAlert(bucket, mark, int(self._cells[slot])))
        self._cells[at] = given
        return found

    def _mark_exhausted(self, bucket: Bucket) -> None:
        """Say once that money is what a request was refused for."""
        _, slot = self._budgets[bucket.name]
        at = 3 * self._slots + slot
        if int(self._cells[at]) & 2:
            return
        self._lock_all()
        try:
            given = int(self._cells[at])
            spent = int(self._cells[slot])
            self._cells[at] = given | 2
        finally:
            self._unlock_all()
        if not given & 2:
            self._on_alert(BudgetAlert(bucket, 100, spent))

    def budgets(self) -> Iterator[tuple[str, int, int, int]]:
        """Yield (name, period, spent, alerts) of each budget used by this worker."""
        cells, slots = self._cells, self._slots
        for name, (bucket, slot) in list(self._budgets.items()):
            if self._tags[slot] == _tag(bucket.name):
                yield name, int(cells[2 * slots + slot]), int(cells[slot]), int(cells[3 * slots + slot])

    # Off the path.

    def quota(self, buckets: Sequence[Bucket]) -> Quota:
        """Find or make the buckets' places.

        Raises:
            TableFullError: there is no place left.
        """
        # By the last bucket: it is the tenant's, so all keys of a tenant take turns at one lock.
        stripe = _tag(buckets[-1].name) % STRIPES if buckets else 0
        quota = Quota(buckets, self._storage.handles[stripe])
        self._place(quota)
        return quota

    def standings(self, quota: Quota) -> tuple[Standing, ...]:
        """Return how far each bucket is used; a moment's view, without the lock."""
        if quota.generation != self._tags[self._slots]:
            self._place(quota)
        now_s = self._monotonic_s()
        cells = self._cells
        found = []
        for slot, step_s, _room_s, bucket in quota.requests:
            level_s = max(0.0, cells[slot] - now_s)
            found.append(_standing(bucket, bucket.capacity - level_s / step_s + _ROUNDING, level_s))
        for slot, reserved, _mine, step_s, capacity, bucket in quota.tokens:
            level_s = max(0.0, cells[slot] - now_s)
            found.append(_standing(bucket, capacity - cells[reserved] - level_s / step_s + _ROUNDING, level_s))
        for reserved, _mine, capacity, bucket in quota.places:
            found.append(_standing(bucket, capacity - cells[reserved], 0.0))
        self._calendar.look()
        for slot, reserved, _mine, capacity, monthly, bucket in quota.money:
            period = self._calendar.month if monthly else self._calendar.day
            spent = cells[slot] if cells[2 * self._slots + slot] >= period else 0.0
            found.append(_standing(bucket, capacity - spent - cells[reserved], self._calendar.left_s(monthly=monthly)))
        return tuple(found)

    def _place(self, quota: Quota) -> None:
        slots = self._slots
        requests: list[RequestRow] = []
        tokens: list[TokenRow] = []
        places: list[PlaceRow] = []
        money: list[MoneyRow] = []
        self._lock_all()
        try:
            for bucket in quota.buckets:
                slot = self._slot(bucket)
                reserved, mine = slots + slot, (FIXED + self._storage.column) * slots + slot
                capacity, step_s = float(bucket.capacity), bucket.step_s
                match bucket.measure:
                    case Measure.REQUESTS:
                        requests.append((slot, step_s, (capacity - 1.0) * step_s + _SLACK_S, bucket))
                    case Measure.TOKENS:
                        tokens.append((slot, reserved, mine, step_s, capacity, bucket))
                    case Measure.PLACES:
                        places.append((reserved, mine, capacity, bucket))
                    case Measure.DAILY_USD | Measure.MONTHLY_USD:
                        monthly = bucket.measure is Measure.MONTHLY_USD
                        money.append((slot, reserved, mine, capacity, monthly, bucket))
                        self._open_budget(slot, bucket, money[-1])
            quota.generation = self._tags[slots]
            quota.day = -1
        finally:
            self._unlock_all()
        quota.requests, quota.tokens = tuple(requests), tuple(tokens)
        quota.places, quota.money = tuple(places), tuple(money)

    def _open_budget(self, slot: int, bucket: Bucket, row: MoneyRow) -> None:
        self._budgets[bucket.name] = (bucket, slot)
        self._calendar.look()
        self._turn((row,))
        self._sow(slot, bucket.name)

    def _slot(self, bucket: Bucket) -> int:
        tag = _tag(bucket.name)
        first = tag % (self._slots // WAYS) * WAYS
        ways = range(first, first + WAYS)
        slot = next((way for way in ways if self._tags[way] == tag), None)
        if slot is None:
            slot = next((way for way in ways if not self._tags[way]), None)
            if slot is None:
                slot = self._evicted(ways)
            self._tags[slot] = tag
        return slot

    def _evicted(self, ways: range) -> int:
        """Free a slot that says what an empty one says: drained, nothing reserved, a period that is over."""
        cells, slots = self._cells, self._slots
        self._calendar.look()
        now_s, day, month = self._monotonic_s(), self._calendar.day, self._calendar.month
        for slot in ways:
            period = cells[2 * slots + slot]
            current = month if period > MONTHS else day
            idle = cells[slot] <= now_s if not period else period < current
            if idle and not cells[slots + slot]:
                for row in range(FIXED):
                    cells[row * slots + slot] = 0.0
                self._tags[slots] += 1
                return slot
        raise TableFullError("every slot of this bucket's set is in use")

    def _sow(self, slot: int, name: str) -> None:
        """Take over what a budget's store knows when it knows more."""
        known = self._seed(name)
        if known is None:
            return
        cells, slots = self._cells, self._slots
        period, spent, alerts = known
        now = cells[2 * slots + slot]
        if period > now or (period == now and spent > cells[slot]):
            cells[slot] = spent
            cells[2 * slots + slot] = period
            cells[3 * slots + slot] = int(cells[3 * slots + slot]) | alerts

    def _lock_all(self) -> None:
        for handle in self._storage.handles:
            if self._lock(handle):
                self._storage.healed(handle)

    def _unlock_all(self) -> None:
        for handle in self._storage.handles:
            self._unlock(handle)


def _standing(bucket: Bucket, left: float, reset_s: float) -> Standing:
    return Standing(bucket, max(0, int(left)), reset_s)


def _tag(name: str) -> int:
    """Return 63 bits of a bucket's name, never 0."""
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "big") >> 1 | 1
