"""Limits exact over all replicas, counted by Redis; the wiring runs `run` beside the server.

All commands of a worker go down one connection in the order in which they were given, as many at once as have gathered
while the last ones were under way. A hold that nobody settles comes back after `hold_s`. While Redis is gone nobody
knocks at it but the one that waits for its return.
"""

import asyncio
import secrets
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import NoScriptError, RedisError, ResponseError

from shipway.adapters.memory.limits import MemoryLimits
from shipway.adapters.redis_limits.scripts import LOOK, OUTSIDE, RESERVE, RESET, SETTLE
from shipway.adapters.redis_limits.shares import BudgetShares, budgets_of
from shipway.core.clock import Clock
from shipway.gateway.ports import EventNote
from shipway.gateway.quota import Bucket, BudgetAlert, Excess, LimitsLostError, Measure, Standing

_BATCH = 256
_MOST_UNSETTLED = 50_000
"""Settlements kept while Redis is gone; some 25 MB."""
_MOST_WATCHED = 20_000
_LOOKS = 128
_LOOK_EVERY_S = 1.0
"""While Redis is there, what it has counted of this many budgets is read anew this often, for the time without it."""
_LOST = (RedisError, OSError, TimeoutError)


class OnLoss(StrEnum):
    """What happens while Redis is gone: nobody passes, or each worker gives out its own share."""

    FAIL_CLOSED = "fail_closed"
    LOCAL_SHARE = "local_share"


@dataclass(frozen=True, slots=True)
class RedisSettings:
    """`share` is one worker's part of every limit while Redis is gone; `prefix` keeps installations apart."""

    prefix: str = "shipway"
    hold_s: float = 300.0
    on_loss: OnLoss = OnLoss.FAIL_CLOSED
    share: float = 1.0
    retry_first_s: float = 0.05
    retry_cap_s: float = 5.0


def connected(url: str, timeout_s: float) -> Redis:
    """Return a client that gives up after `timeout_s` and never tries again by itself."""
    never = Retry(NoBackoff(), 0)
    client: Redis = Redis.from_url(url, socket_timeout=timeout_s, socket_connect_timeout=timeout_s, retry=never)
    return client


class RedisQuota:
    """Buckets with their keys and arguments as they are sent."""

    __slots__ = ("buckets", "keys", "local", "rows")

    def __init__(self, buckets: Sequence[Bucket], prefix: str) -> None:
        self.buckets = tuple(buckets)
        self.local: Any = None
        self.keys: list[str] = []
        self.rows: list[str] = []
        for bucket in buckets:
            # The tenant's name between braces: a cluster keeps all that one script touches together.
            tenant, _, rest = bucket.name.partition("/")
            key = f"{prefix}:limits:{{{tenant}}}:{rest}"
            self.keys += [key, f"{key}:held"]
            self.rows += [bucket.measure.value, str(bucket.capacity), repr(bucket.step_s)]


@dataclass(slots=True)
class RedisHold:
    """What a request has reserved; `local` what it has of this worker's share instead, while Redis is gone.

    The money of that share is in `BudgetShares`, all else in `local`.
    """

    quota: RedisQuota
    id: str
    tokens: int
    nano_usd: int
    at_s: str = ""
    local: Any = None


@dataclass(slots=True)
class _Command:
    script: str
    quota: RedisQuota
    arguments: list[Any]
    done: asyncio.Future[Any] | None = None
    repeated: bool = False
    of_share: int | None = None
    """Nano-dollars that were spent of this worker's share, and that Redis learns of by this."""


class RedisLimits:
    """Implements `gateway.quota.Limits`."""

    def __init__(
        self,
        client: Redis,
        clock: Clock,
        settings: RedisSettings,
        *,
        note: EventNote,
        uniform: Callable[[], float],
        on_alert: Callable[[BudgetAlert], None] = lambda _alert: None,
    ) -> None:
        self._client = client
        self._settings = settings
        self._note = note
        self._uniform = uniform
        self._on_alert = on_alert
        self._local = MemoryLimits(clock)
        shared = settings.on_loss is OnLoss.LOCAL_SHARE
        self._shares = BudgetShares(clock, settings.share, on_alert) if shared else None
        self._watched: dict[tuple[str, ...], RedisQuota] = {}
        self._commands: deque[_Command] = deque()
        self._wake = asyncio.Event()
        self._shas: dict[str, str] = {}
        self._attempts = 0
        self.lost = False

    def prepared(self, buckets: Sequence[Bucket]) -> RedisQuota:
        """Return the buckets as they are sent."""
        budgets = budgets_of(buckets) if self._shares is not None else ()
        if budgets:
            if len(self._watched) >= _MOST_WATCHED:
                self._watched.pop(next(iter(self._watched)))
            self._watched[tuple(bucket.name for bucket in budgets)] = RedisQuota(budgets, self._settings.prefix)
        return RedisQuota(buckets, self._settings.prefix)

    async def reserve(self, quota: RedisQuota, tokens: int, nano_usd: int) -> RedisHold | Excess:
        """Take from all buckets or from none.

        Raises:
            LimitsLostError: Redis is gone and nobody is let in meanwhile.
        """
        hold = RedisHold(quota, secrets.token_hex(8), tokens, nano_usd)
        if self.lost:
            return await self._without(hold)
        try:
            refused, wait_s, at_s, alert, _used = await self._asked(RESERVE, hold, [])
        except LimitsLostError:
            return await self._without(hold)
        if refused:
            bucket = quota.buckets[refused - 1]
            if int(alert):
                self._on_alert(BudgetAlert(bucket, 100, max(0, int(alert))))
            return Excess(bucket, float(wait_s))
        hold.at_s = at_s.decode()
        return hold

    def settle(self, held: RedisHold, tokens: int, nano_usd: int) -> None:
        """Send what was used; does not wait for Redis."""
        if held.local is not None and self._shares is not None:
            self._local.settle(held.local, tokens, 0)
            self._shares.give_back(budgets_of(held.quota.buckets), held.nano_usd, nano_usd)
            # Redis has not seen it before; the mark keeps it from being counted twice.
            outside = replace(held, id=OUTSIDE + held.id)
            self._push_settlement(outside, tokens, nano_usd, of_share=nano_usd)
        else:
            self._push_settlement(held, tokens, nano_usd)

    def release(self, held: RedisHold) -> None:
        """Send that nothing was used, the request neither."""
        if held.local is not None and self._shares is not None:
            self._local.release(held.local)
            self._shares.give_back(budgets_of(held.quota.buckets), held.nano_usd, 0)
        else:
            self._push_settlement(held, 0, 0, since=held.at_s)

    async def standings(self, quota: RedisQuota) -> tuple[Standing, ...]:
        """Return how far each bucket is used; nothing while Redis is gone."""
        if self.lost:
            return ()
        try:
            found = await self._asked(LOOK, RedisHold(quota, "", 0, 0), [])
        except LimitsLostError:
            return ()
        return tuple(
            Standing(bucket, int(left), float(reset_s))
            for bucket, (left, reset_s, _used) in zip(quota.buckets, found, strict=True)
        )

    async def reset(self, buckets: Sequence[Bucket]) -> None:
        """Set what is used of buckets of one tenant to nothing; what runs keeps what it has reserved.

        Raises:
            LimitsLostError: Redis is gone.
        """
        if self.lost:
            raise LimitsLostError("the limits cannot be reached")
        await self._asked(RESET, RedisHold(self.prepared(buckets), "", 0, 0), [])

    async def run(self) -> None:
        """Send commands until cancelled."""
        if self._shares is None:
            await self._send()
            return
        async with asyncio.TaskGroup() as group:
            group.create_task(self._send())
            group.create_task(self._keep_looking())

    async def _send(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._commands:
                await self._send_batch()
                task = asyncio.current_task()
                if task is not None and task.cancelling():
                    # The client may have taken the cancellation for an answer that did not come.
                    raise asyncio.CancelledError
                if self.lost:
                    await self._until_back()

    async def close(self) -> None:
        """Send what is left, if Redis is there, and close the connection."""
        while self._commands and not self.lost:
            await self._send_batch()
        await self._client.aclose()

    # While Redis is there.

    async def _asked(self, script: str, hold: RedisHold, more: list[Any]) -> Any:
        done: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._push(_Command(script, hold.quota, [*self._head(hold), *more], done))
        return await done

    async def _keep_looking(self) -> None:
        """Read what others have spent, too, so that an outage finds this worker knowing it."""
        while True:
            await asyncio.sleep(_LOOK_EVERY_S)
            self.look()

    def look(self) -> None:
        """Ask what Redis has counted of the budgets that were not asked about for longest; does not wait for it."""
        for names in list(self._watched)[: 0 if self.lost else _LOOKS]:
            quota = self._watched[names] = self._watched.pop(names)
            self._push(_Command(LOOK, quota, self._head(RedisHold(quota, "", 0, 0))))

    def _head(self, hold: RedisHold) -> list[Any]:
        return [hold.id, hold.tokens, hold.nano_usd, repr(self._settings.hold_s), *hold.quota.rows]

    def _push(self, command: _Command) -> None:
        self._commands.append(command)
        self._wake.set()

    def _push_settlement(
        self, held: RedisHold, tokens: int, nano_usd: int, *, since: str = "", of_share: int | None = None
    ) -> None:
        if len(self._commands) >= _MOST_UNSETTLED:
            self._note("settlement_dropped", tokens=tokens, nano_usd=nano_usd)
            return
        arguments = [*self._head(held), tokens, nano_usd, since]
        self._push(_Command(SETTLE, held.quota, arguments, of_share=of_share))

    async def _send_batch(self) -> None:
        batch = [self._commands.popleft() for _ in range(min(_BATCH, len(self._commands)))]
        try:
            results = await self._executed(batch)
        except asyncio.CancelledError:
            # They may have been run without our learning of it.
            self._commands.extendleft(replace(command, repeated=True) for command in reversed(batch))
            raise
        except Exception as error:  # noqa: BLE001 - whatever it is, those who wait must be told
            self._lose(batch, error)
            return
        for command, result in zip(batch, results, strict=True):
            self._finish(command, result)

    async def _executed(self, batch: Sequence[_Command]) -> list[Any]:
        for script in {command.script for command in batch} - self._shas.keys():
            self._shas[script] = await self._client.script_load(script)
        results = await self._piped(batch)
        if any(isinstance(result, NoScriptError) for result in results):
            # Redis was restarted or flushed: nothing of these was run.
            self._shas.clear()
            forgotten = [index for index, result in enumerate(results) if isinstance(result, NoScriptError)]
            again = await self._executed([batch[index] for index in forgotten])
            for index, result in zip(forgotten, again, strict=True):
                results[index] = result
        return results

    async def _piped(self, batch: Sequence[_Command]) -> list[Any]:
        pipe = self._client.pipeline(transaction=False)
        for command in batch:
            arguments = [*command.arguments, "1" if command.repeated else "0"]
            keys = command.quota.keys
            pipe.evalsha(self._shas[command.script], len(keys), *keys, *arguments)
        found: list[Any] = await pipe.execute(raise_on_error=False)
        broken = next((r for r in found if isinstance(r, RedisError) and not isinstance(r, NoScriptError)), None)
        if broken is not None and not isinstance(broken, ResponseError):
            raise broken
        return found

    def _finish(self, command: _Command, result: Any) -> None:
        if self._shares is not None and not isinstance(result, ResponseError):
            _learn(self._shares, command, result)
        if isinstance(result, ResponseError):
            # A full or read-only Redis answers, but it does not count.
            self._note("limits_not_counted", error=str(result))
            if command.done is not None and not command.done.done():
                command.done.set_exception(LimitsLostError("the limits cannot be counted now"))
            return
        if command.script is LOOK and command.done is None:
            return
        if command.done is None:
            for number, percent, spent in result:
                self._on_alert(BudgetAlert(command.quota.buckets[number - 1], percent, int(spent)))
        elif not command.done.done():
            command.done.set_result(result)
        elif command.script is RESERVE and not result[0]:
            # Whoever asked is gone; what was taken for it goes back.
            settled = [*command.arguments, 0, 0, result[2]]
            self._push(_Command(SETTLE, command.quota, settled))

    # While it is gone.

    def _lose(self, batch: Sequence[_Command], error: BaseException) -> None:
        if not self.lost:
            self.lost = True
            self._attempts = 0
            self._note("limits_lost", mode=self._settings.on_loss.value, error=repr(error))
        # Those of the batch may have been run without our learning of it.
        waiting = [*(replace(command, repeated=True) for command in batch), *self._commands]
        self._commands = deque(command for command in waiting if command.script is SETTLE)
        for command in waiting:
            if command.done is not None and not command.done.done():
                command.done.set_exception(LimitsLostError("the limits cannot be reached"))

    async def _until_back(self) -> None:
        while True:
            longest_s = min(self._settings.retry_cap_s, self._settings.retry_first_s * 2.0 ** min(self._attempts, 16))
            self._attempts += 1
            await asyncio.sleep(self._uniform() * longest_s)
            try:
                await self._client.ping()
            except _LOST:
                continue
            self.lost = False
            self._note("limits_back", attempts=self._attempts)
            return

    async def _without(self, hold: RedisHold) -> RedisHold | Excess:
        if self._shares is None:
            raise LimitsLostError("the limits cannot be reached, so nothing is let in")
        quota, budgets = hold.quota, budgets_of(hold.quota.buckets)
        if quota.local is None:
            others = [bucket for bucket in quota.buckets if bucket not in budgets]
            quota.local = self._local.prepared([self._shared_out(bucket) for bucket in others])
        found = await self._local.reserve(quota.local, hold.tokens, 0)
        if isinstance(found, Excess):
            return found
        try:
            excess = self._shares.take(budgets, hold.nano_usd)
        except LimitsLostError:
            self._local.release(found)
            raise
        if excess is not None:
            self._local.release(found)
            return excess
        hold.local = found
        return hold

    def _shared_out(self, bucket: Bucket) -> Bucket:
        share = self._settings.share
        # Rounded down, so that all shares together are not more than the whole; but one request at a time may pass.
        least = 1 if bucket.measure is Measure.REQUESTS else 0
        return replace(bucket, capacity=max(least, int(bucket.capacity * share)), per_min=bucket.per_min * share)


def _learn(shares: BudgetShares, command: _Command, result: Any) -> None:
    """Tell the shares what a reply says about budgets."""
    if command.script is SETTLE:
        if command.of_share is not None:
            shares.counted(budgets_of(command.quota.buckets), command.of_share)
        return
    if command.script is RESET:
        return
    used = result[4] if command.script is RESERVE else [row[2] for row in result]
    for bucket in budgets_of(command.quota.buckets):
        shares.learn(bucket, int(used[command.quota.buckets.index(bucket)]))
