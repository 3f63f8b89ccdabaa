"""What the gateway process counts callers with and whom it believes: adapters chosen by the project file."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from shipway.adapters.shared_limits.budgets import BudgetStore
from shipway.adapters.shared_limits.limits import SharedLimits
from shipway.config.environment import process_environment
from shipway.config.secrets import resolve_secret
from shipway.config.sections.redis import Redis
from shipway.core.errors import UsageError
from shipway.gateway.ports import EventNote
from shipway.gateway.quota import NANO, BudgetAlert
from shipway.gateway.quota_book import QuotaBook, QuotaRules
from shipway.gateway.tokens import TokenDesk
from shipway.services.application import Application

if TYPE_CHECKING:
    from shipway.adapters.redis_limits.limits import RedisLimits

_STRANGER_SLOTS = 8192
_HOLD_MARGIN_S = 30.0

Work = Callable[[], Coroutine[Any, Any, None]]


@dataclass(frozen=True, slots=True)
class Access:
    """The quotas and the desk for tokens; `run` works beside the server."""

    quotas: QuotaBook
    tokens: TokenDesk | None
    run: Work


@asynccontextmanager
async def opened_access(app: Application, *, note: EventNote, uniform: Callable[[], float]) -> AsyncIterator[Access]:
    """Open what limits and tokens need, as long as the block runs."""
    project = app.project
    folder = app.workspace.run / "limits"

    def alert(found: BudgetAlert) -> None:
        note(
            "budget_alert",
            budget=found.bucket.name,
            percent=found.percent,
            spent_usd=found.spent_nano_usd / NANO,
            limit_usd=found.bucket.capacity / NANO,
        )

    strangers = SharedLimits(folder / "addresses", app.clock, note=note, slots=_STRANGER_SLOTS)
    limits = await _opened_limits(app, note, alert, uniform)
    rules = QuotaRules(project.rates, project.budgets, project.tenants, project.key_limits)
    tokens, mind_issuers = _tokens(app, note, uniform)

    async def run() -> None:
        async with asyncio.TaskGroup() as group:
            for work in (limits.run, strangers.run, *mind_issuers):
                group.create_task(work())

    try:
        yield Access(QuotaBook(limits, strangers, rules), tokens, run)
    finally:
        await limits.close()
        await strangers.close()


async def _opened_limits(
    app: Application, note: EventNote, alert: Callable[[BudgetAlert], None], uniform: Callable[[], float]
) -> "SharedLimits | RedisLimits":
    redis = app.project.redis
    if redis is not None:
        return _redis_limits(app, redis, note, alert, uniform)
    budgets = BudgetStore(app.state.documents, app.environment)
    await budgets.load()
    folder = app.workspace.run / "limits" / app.environment
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
        hold_s=server.llm_timeout_s + server.request_timeout_s + _HOLD_MARGIN_S,
        on_loss=OnLoss(redis.on_loss),
        share=1.0 / (redis.replicas * server.workers),
    )
    return RedisLimits(connected(url, redis.timeout_s), app.clock, settings, note=note, uniform=uniform, on_alert=alert)


def _tokens(app: Application, note: EventNote, uniform: Callable[[], float]) -> tuple[TokenDesk | None, list[Work]]:
    issuers = app.project.auth.issuers
    if not issuers:
        return None, []
    # Imported here: cryptography is for those who have issuers.
    from shipway.adapters.oidc.key_sets import KeySets  # noqa: PLC0415
    from shipway.adapters.oidc.verifier import OidcVerifier, key_source  # noqa: PLC0415

    keys = KeySets([key_source(issuer) for issuer in issuers], app.clock, note=note, uniform=uniform)
    return TokenDesk(OidcVerifier(issuers, keys, frozenset(app.project.tenants))), [keys.run]
