import pytest

from shipway.adapters.memory.limits import MemoryLimits
from shipway.config.sections.routes import Budgets, Rates
from shipway.config.sections.tenants import KeyLimits, Tenant
from shipway.core.clock import ManualClock
from shipway.core.snapshot import KeyEntry
from shipway.gateway.quota import Bucket, Excess, Measure, Standing
from shipway.gateway.quota_book import QuotaBook, QuotaRules, duration, limit_headers, refusal


def key(key_id: str = "k", tenant: str = "acme") -> KeyEntry:
    return KeyEntry(key_id, "", tenant, (), ())


def shown(rules: QuotaRules, entry: KeyEntry) -> dict[str, tuple[int, float]]:
    return {bucket.name: (bucket.capacity, bucket.per_min) for bucket in rules.buckets(entry)}


def test_by_default_a_key_has_its_rate_and_nothing_else():
    assert shown(QuotaRules(), key()) == {"acme/key/k/requests": (60, 120)}


def test_a_keys_own_limit_comes_before_its_tenants_and_that_before_the_one_for_all():
    rules = QuotaRules(
        Rates(per_key_min=100, tokens_per_min=1000, concurrent_per_key=5),
        Budgets(daily_usd=1.0),
        {"acme": Tenant(per_key_min=50, tokens_per_min=500, daily_usd=2.5)},
        {"k": KeyLimits(tenant="acme", per_key_min=10)},
    )
    assert shown(rules, key()) == {
        "acme/key/k/requests": (5, 10),
        "acme/key/k/tokens": (500, 500),
        "acme/key/k/places": (5, 0.0),
        "acme/tenant/daily_usd": (2_500_000_000, 0.0),
    }
    assert shown(rules, key("other"))["acme/key/other/requests"] == (25, 50)
    assert shown(rules, key("x", "elsewhere"))["elsewhere/tenant/daily_usd"] == (1_000_000_000, 0.0)


def test_a_keys_limits_do_not_follow_its_id_into_another_tenant():
    rules = QuotaRules(key_limits={"k": KeyLimits(tenant="acme", per_key_min=10)})
    assert shown(rules, key("k", "other"))["other/key/k/requests"] == (60, 120)


def test_names_with_odd_characters_stay_apart():
    rules = QuotaRules()
    names = {
        next(iter(shown(rules, key(*pair)))) for pair in (("b/key/c", "a"), ("c", "a/key/b"), ("c", "a%2Fkey%2Fb"))
    }
    assert len(names) == 3
    assert all(name.count("/") == 3 for name in names)


def test_addresses_are_counted_one_by_one_and_ipv6_by_what_one_customer_has():
    limits = MemoryLimits(ManualClock())
    book = QuotaBook(limits, limits, QuotaRules(Rates(per_ip_min=1)))
    assert book.stranger("192.0.2.1") is None
    assert book.stranger("192.0.2.2") is None
    assert isinstance(book.stranger("192.0.2.1"), Excess)
    assert book.stranger("2001:db8::1") is None
    assert isinstance(book.stranger("2001:db8::ffff"), Excess)
    assert book.stranger("2001:db8:0:1::1") is None


def test_a_flood_of_addresses_is_refused_and_crowds_out_no_key():
    clock = ManualClock()
    clock.advance(1.0)
    book = QuotaBook(MemoryLimits(clock), MemoryLimits(clock, slots=8), QuotaRules(Rates(per_ip_min=1)))
    found = [book.stranger(f"192.0.2.{number}") for number in range(20)]
    assert [one is None for one in found] == [True] * 8 + [False] * 12
    assert book.of(key()).prepared is not None


def test_headers_tell_of_the_limit_that_is_nearest():
    wide = Bucket("a", "tenant", Measure.REQUESTS, 100, 200)
    tight = Bucket("b", "key", Measure.REQUESTS, 10, 20)
    per_token = Bucket("c", "key", Measure.TOKENS, 1000, 1000)
    money = Bucket("d", "tenant", Measure.DAILY_USD, 5)
    standings = [
        Standing(wide, 50, 3.0),
        Standing(tight, 2, 24.5),
        Standing(per_token, 0, 60.0),
        Standing(money, 1, 9.0),
    ]
    assert limit_headers(standings) == [
        ("x-ratelimit-limit-requests", "20"),
        ("x-ratelimit-remaining-requests", "2"),
        ("x-ratelimit-reset-requests", "24.5s"),
        ("x-ratelimit-limit-tokens", "1000"),
        ("x-ratelimit-remaining-tokens", "0"),
        ("x-ratelimit-reset-tokens", "1m0s"),
    ]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.0, "0ms"), (0.0175, "17ms"), (1.0, "1s"), (1.5, "1.5s"), (360.0, "6m0s"), (3661.2, "61m1s")],
)
def test_times_are_spelt_as_openai_spells_them(seconds, text):
    assert duration(seconds) == text


def test_a_refusal_says_whose_limit_it_is_and_when_to_come_back():
    found = refusal(Excess(Bucket("a", "tenant", Measure.MONTHLY_USD, 5), 12.2))
    assert (found.status, found.code, found.retry_after) == (429, "budget_exceeded", "13")
    assert found.message == "this tenant has spent its budget of this month (UTC)"
