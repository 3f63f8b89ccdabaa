import pytest

from shipway.adapters.memory.limits import MemoryLimits
from shipway.adapters.memory.store import MemoryStore
from shipway.config.loading import LoadedProject
from shipway.config.project import Project
from shipway.core.clock import ManualClock
from shipway.core.errors import NotFoundError, UnavailableError, UsageError
from shipway.core.snapshot import KeyEntry
from shipway.gateway.quota import Bucket
from shipway.gateway.quota_book import QuotaRules
from shipway.services.application import Application, Workspace
from shipway.services.limits import LimitSubject, reset_limits, show_limits

PROJECT = Project.model_validate(
    {
        "app": "shop",
        "routes": {"ask": {"kind": "http", "url": "http://127.0.0.1:1"}},
        "rates": {"per_key_min": 60, "concurrent_per_key": 4},
        "budgets": {"daily_usd": 5, "key_daily_usd": 2},
        "tenants": {"acme": {"tenant_tokens_per_min": 1000}, "empty": {}},
    }
)
KEY = KeyEntry("key_1", "0" * 64, "acme", ("public",), ("invoke",))
OTHER = KeyEntry("key_2", "1" * 64, "acme", ("public",), ("invoke",))
USD = 1_000_000_000

pytestmark = pytest.mark.anyio


class Told(MemoryLimits):
    """Counters that keep what they were told to reset."""

    def __init__(self) -> None:
        super().__init__(ManualClock())
        self.told: list[Bucket] = []

    async def reset(self, buckets):
        self.told += buckets


class Gone(Told):
    async def standings(self, _quota):
        return ()


@pytest.fixture
async def app(tmp_path):
    store = MemoryStore()
    for key in (KEY, OTHER):
        await store.keys.add(key, created_at_s=0.0)
    loaded = LoadedProject(tmp_path, "local", PROJECT, {})
    return Application(loaded, Workspace(tmp_path), store, ManualClock(1000.0), "user:test")


@pytest.fixture
async def counters():
    """Counters in which `key_1` has spent a dollar and runs one request for half a dollar."""
    made = Told()
    rules = QuotaRules(PROJECT.rates, PROJECT.budgets, PROJECT.tenants, PROJECT.key_limits)
    quota = made.prepared(rules.buckets(KEY))
    made.settle(await made.reserve(quota, 100, USD), 100, USD)
    await made.reserve(quota, 50, USD // 2)
    return made


def shown(rows):
    return {(row.key_id or row.tenant, row.limit): (row.used, row.left, row.most) for row in rows}


async def test_a_key_is_shown_with_its_tenant_and_what_runs_counts_as_used(app, counters):
    assert shown(await show_limits(app, counters, LimitSubject(key_id="key_1"))) == {
        ("key_1", "requests"): (2, 28, 30),
        ("key_1", "concurrent"): (1, 3, 4),
        ("key_1", "daily_usd"): (1.5, 0.5, 2),
        ("acme", "tokens"): (150, 850, 1000),
        ("acme", "daily_usd"): (1.5, 3.5, 5),
    }


async def test_a_tenant_is_shown_with_its_keys_and_all_are_shown_without_a_name(app, counters):
    of_tenant = shown(await show_limits(app, counters, LimitSubject(tenant="acme")))
    everybody = shown(await show_limits(app, counters, LimitSubject()))

    assert {name for name, _ in of_tenant} == {"acme", "key_1", "key_2"}
    assert of_tenant["key_2", "daily_usd"] == (0, 2, 2)
    assert everybody == {**of_tenant, ("empty", "daily_usd"): (0, 5, 5)}


@pytest.mark.parametrize(
    ("subject", "only", "told"),
    [
        (LimitSubject(key_id="key_1"), (), {"acme/key/key_1/requests", "acme/key/key_1/daily_usd"}),
        (LimitSubject(key_id="key_1"), ("daily_usd",), {"acme/key/key_1/daily_usd"}),
        (LimitSubject(tenant="acme"), (), {"acme/tenant/tokens", "acme/tenant/daily_usd"}),
    ],
    ids=["key", "one-of-key", "tenant"],
)
async def test_a_reset_is_of_the_one_that_was_named_alone_and_is_audited_with_what_was_used(
    app, counters, subject, only, told
):
    rows = await reset_limits(app, counters, subject, only)

    assert {bucket.name for bucket in counters.told} == told
    (event,) = await app.state.audit.entries()
    assert (event.action, event.subject) == ("limits.reset", f"key:{KEY.key_id}" if subject.key_id else "tenant:acme")
    assert event.details["used"] == {row.limit: row.used for row in rows}
    assert {row.limit for row in rows} == {name.rsplit("/", 1)[1] for name in told}
    assert all(row.used > 0 for row in rows)


@pytest.mark.parametrize(
    ("subject", "only", "error", "words"),
    [
        (LimitSubject(), (), UsageError, "--key"),
        (LimitSubject("key_1", "acme"), (), UsageError, "--key"),
        (LimitSubject("key_1"), ("concurrent",), UsageError, "'concurrent'"),
        (LimitSubject("key_9"), (), NotFoundError, "key_9"),
        (LimitSubject(tenant="acmee"), (), NotFoundError, "acme, empty"),
        (LimitSubject("key_1"), ("tokens",), NotFoundError, "requests, concurrent, daily_usd"),
    ],
    ids=["nobody", "both", "places", "no-key", "no-tenant", "no-limit"],
)
async def test_a_reset_that_cannot_be_meant_changes_nothing(app, counters, subject, only, error, words):
    with pytest.raises(error, match=words):
        await reset_limits(app, counters, subject, only)
    assert counters.told == []


async def test_counters_that_cannot_be_reached_are_no_empty_list(app):
    with pytest.raises(UnavailableError, match="cannot be reached"):
        await show_limits(app, Gone(), LimitSubject())
