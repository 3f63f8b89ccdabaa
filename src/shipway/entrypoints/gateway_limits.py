"""What the gateway process counts callers with and whom it believes: adapters chosen by the project file."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from shipway.adapters.shared_limits.budgets import BudgetStore
from shipway.adapters.shared_limits.limits import SharedLimits
from shipway.adapters.shared_limits.resets import ResetLog
from shipway.config.environment import process_environment
from shipway.config.project import Project
from shipway.config.secrets import resolve_secret
from shipway.config.sections.auth import Issuer
from shipway.config.sections.redis import Redis
from shipway.core.errors import UsageError
from shipway.gateway.ports import EventNote
from shipway.gateway.quota import NANO, BudgetAlert
from shipway.gateway.quota_book import QuotaBook, QuotaRules
from shipway.gateway.tokens import TokenDesk
from shipway.services.application import Application

if TYPE_CHECKING:
    from shipway.adapters.oidc.key_sets import KeySets
    from shipway.adapters.redis_limits.limits import RedisLimits

_STRANGER_SLOTS = 8192
_HOLD_MARGIN_S = 30.0

Work = Callable[[], Coroutine[Any, Any, None]]


@dataclass(frozen=True, slots=True)
class Counters:
    """Where callers are counted, for as long as the worker lives; `run` works beside the server."""

    limits: "SharedLimits | RedisLimits"
    strangers: SharedLimits

    def book(self, project: Project) -> QuotaBook:
        """Return the quotas of a configuration; what is used of them is counted where it was before."""
        rules = QuotaRules(project.rates, project.budgets, project.tenants, project.key_limits)
        return QuotaBook(self.limits, self.strangers, rules)

    async def run(self) -> None:
        """Work until cancelled."""
        async with asyncio.TaskGroup() as group:
            for work in (self.limits.run, self.strangers.run):
                group.create_task(work())


@asynccontextmanager
async def opened_counters(
    app: Application, *, note: EventNote, uniform: Callable[[], float]
) -> AsyncIterator[Counters]:
    """Open what limits need, as long as the block runs."""

    def alert(found: BudgetAlert) -> None:
        note(
            "budget_alert",
            budget=found.bucket.name,
            percent=found.percent,
            spent_usd=found.spent_nano_usd / NANO,
            limit_usd=found.bucket.capacity / NANO,
        )

    folder = app.workspace.run / "limits" / "addresses"
    strangers = SharedLimits(folder, app.clock, note=note, slots=_STRANGER_SLOTS)
    limits = await _opened_limits(app, note, alert, uniform)
    try:
        yield Counters(limits, strangers)
    finally:
        await limits.close()
        await strangers.close()


@asynccontextmanager
async def opened_limits(app: Application) -> AsyncIterator["SharedLimits | RedisLimits"]:
    """Open the counters of an app for a command, beside the workers that count in them."""
    limits = await _opened_limits(app, _unheard, _unheard, lambda: 0.5)
    work = asyncio.create_task(limits.run())
    try:
        yield limits
    finally:
        work.cancel()
        await asyncio.gather(work, return_exceptions=True)
        await limits.close()


def _unheard(*_args: object, **_fields: object) -> None:
    """Take note of nothing: the gateway's log has what happens to limits."""


@dataclass(frozen=True, slots=True)
class Issuers:
    """Whose tokens are believed; without an issuer there is no desk. `run` fetches their keys beside the server."""

    named: Sequence[Issuer] = ()
    tenants: frozenset[str] = frozenset()
    desk: TokenDesk | None = None
    keys: "KeySets | None" = None

    @property
    def run(self) -> Work | None:
        """Return what fetches the keys."""
        return self.keys.run if self.keys is not None else None

    async def settled(self, within_s: float) -> None:
        """Wait until the keys are here, but not for ever: an issuer that is gone must not hold back all else."""
        if self.keys is not None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(within_s):
                    await self.keys.tried()


def issuers_of(
    app: Application, note: EventNote, uniform: Callable[[], float], before: Issuers | None = None
) -> Issuers:
    """Return the issuers of the project file; what is known of those that are asked as before stays known."""
    named, tenants = app.project.auth.issuers, frozenset(app.project.tenants)
    if before is not None and (before.named, before.tenants) == (named, tenants):
        return before
    if not named:
        return Issuers(named, tenants)
    # Imported here: cryptography is for those who have issuers.
    from shipway.adapters.oidc.key_sets import KeySets  # noqa: PLC0415
    from shipway.adapters.oidc.verifier import OidcVerifier, key_source  # noqa: PLC0415

    keys = KeySets([key_source(issuer) for issuer in named], app.clock, note=note, uniform=uniform)
    if before is not None and before.keys is not None:
        keys.inherit(before.keys)
    return Issuers(named, tenants, TokenDesk(OidcVerifier(named, keys, tenants)), keys)


async def _opened_limits(
    app: Application, note: EventNote, alert: Callable[[BudgetAlert], None], uniform: Callable[[], float]
) -> "SharedLimits | RedisLimits":
    redis = app.project.redis
    if redis is not None:
        return _redis_limits(app, redis, note, alert, uniform)
    folder = app.workspace.run / "limits" / app.environment
    budgets = BudgetStore(app.state.documents, app.environment, resets=ResetLog(folder).read)
    await budgets.load()
    return SharedLimits(folder, app.clock, note=note, on_alert=alert, budgets=budgets)


def _redis_limits(
    app: Application, redis: Redis, note: EventNote, alert: Callable[[BudgetAlert], None], uniform: Callable[[], float]
) -> "RedisLimits":
    # Imported here: who counts on one host needs no Redis client.
    try:
        from shipway.adapters.redis_limits.limits import (  # noqa: PLC0415
            OnLoss,
            RedisLimits,
            RedisSettings,
            connected,
        )
    except ImportError as error:
        hint = "install it with `pip install 'shipway[redis]'`, or leave the section redis out"
        raise UsageError("the section redis needs the Redis client, which is not installed", hint=hint) from error
    url = resolve_secret(redis.url, root=app.loaded.root, environ=process_environment())
    server = app.project.server
    settings = RedisSettings(
        prefix=f"shipway:{app.project.app}:{app.environment}",
        hold_s=max(server.llm_timeout_s, server.stream_timeout_s) + server.request_timeout_s + _HOLD_MARGIN_S,
        on_loss=OnLoss(redis.on_loss),
        share=1.0 / (redis.replicas * server.workers),
    )
    return RedisLimits(connected(url, redis.timeout_s), app.clock, settings, note=note, uniform=uniform, on_alert=alert)
