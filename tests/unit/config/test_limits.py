"""`rates`, `budgets`, `tenants`, `key_limits`, `auth` and `redis`: what is refused, with its place."""

import pytest

APP = """\
app: shop
models:
  small: {engine: echo, model: echo}
routes:
  ask: {kind: chat, model: small}
"""


def test_the_whole_of_it_loads(load):
    project = load(
        APP
        + """\
rates: {per_key_min: 200, tokens_per_min: 50000, per_tenant_min: 900, concurrent_per_key: 8, headers: all}
budgets: {daily_usd: 20, monthly_usd: 300, key_daily_usd: 5}
tenants:
  acme: {daily_usd: 50, per_key_min: 400}
  other: {}
key_limits:
  key_0a1b: {tenant: acme, per_key_min: 10}
auth:
  issuers:
    - {issuer: "https://id.example", audience: [shipway], tenant_claim: org}
redis: {url: {env: REDIS_URL}, on_loss: local_share, replicas: 3}
"""
    ).project
    assert project.tenants["acme"].daily_usd == 50.0
    assert project.auth.issuers[0].algorithms == ("RS256", "ES256")
    assert project.redis is not None


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("rates: {per_key_min: -1}\n", "shipway.yaml:6: rates.per_key_min: must be at least 1, not -1"),
        ("rates: {tokens_per_min: 0}\n", "shipway.yaml:6: rates.tokens_per_min: must be at least 1, not 0"),
        ("budgets: {daily_usd: -5}\n", "shipway.yaml:6: budgets.daily_usd: must be greater than 0, not -5"),
        (
            "tenants: {acme: {}}\nkey_limits:\n  key_1: {per_key_min: 5}\n",
            "shipway.yaml:8: key_limits.key_1.tenant: required key is missing",
        ),
        (
            "tenants: {acme: {}}\nkey_limits:\n  key_1: {tenant: acmee}\n",
            "shipway.yaml:8: key_limits.key_1.tenant: 'acmee' is not in tenants (it has acme)",
        ),
        (
            "key_limits:\n  key_1: {tenant: acme}\n",
            "shipway.yaml:7: key_limits.key_1.tenant: 'acme' is not in tenants (it is empty)",
        ),
        (
            "tenants: {acme: {}}\ncorpus:\n  sources:\n    - {path: '**', tenant: nobody, groups: [public]}\n",
            "shipway.yaml:9: corpus.sources[0].tenant: 'nobody' is not in tenants (it has acme)",
        ),
        ("tenants: {acme: {per_ip_min: 5}}\n", "unknown key"),
        ("redis: {url: 'redis://127.0.0.1'}\n", "a secret stands here in clear text"),
    ],
)
def test_a_limit_that_makes_no_sense_is_refused_with_its_line(problems, text, problem):
    (found,) = problems(APP + text)
    assert problem in found


def test_a_budget_in_dollars_needs_the_price_of_what_is_billed_elsewhere(problems, load):
    text = APP.replace("engine: echo, model: echo", 'engine: openai, model: m, base_url: "https://llm.example/v1"')
    assert problems(text + "tenants: {acme: {daily_usd: 5}}\n") == [
        "shipway.yaml:3: models.small.price: missing: without it the budgets in dollars would count nothing"
    ]
    load(text.replace("model: m,", "model: m, price: {input: 1, output: 2},") + "tenants: {acme: {daily_usd: 5}}\n")


@pytest.mark.parametrize("engine", ["openai", "vllm"])
@pytest.mark.parametrize(
    ("price", "missing"),
    [("{input: 1}", ["output"]), ("{output: 2}", ["input"]), ("{}", ["input", "output"]), ("{cache_read: 1}", 2)],
    ids=["input-alone", "output-alone", "empty", "cache-alone"],
)
def test_half_a_price_is_refused_where_budgets_are_in_dollars(problems, load, engine, price, missing):
    address = f'engine: {engine}, model: m, base_url: "https://llm.example/v1", price: {price}'
    text = APP.replace("engine: echo, model: echo", address)
    found = problems(text + "budgets: {daily_usd: 5}\n")
    names = ["input", "output"] if missing == 2 else missing
    assert [line.split(": ", 3)[:3] for line in found] == [
        ["shipway.yaml:3", "models.small.price", f"{name} is missing"] for name in names
    ]
    assert all(f"write `{name}: 0`" in line for name, line in zip(names, found, strict=True))
    load(text)


def test_what_is_free_is_said_so(load):
    address = 'engine: openai, model: m, base_url: "https://llm.example/v1", price: {input: 1, output: 0}'
    load(APP.replace("engine: echo, model: echo", address) + "budgets: {daily_usd: 5}\n")


def test_a_rule_for_a_tenant_that_there_is_not_is_refused_with_its_line(problems, load):
    rules = "routing:\n  rules:\n    - {to: small, tenant: [acme, acmee]}\n"
    assert problems(APP + rules + "tenants: {acme: {}}\n") == [
        "shipway.yaml:8: routing.rules[0].tenant: 'acmee' is not in tenants (it has acme)"
    ]
    load(APP + rules)


ISSUER = 'issuer: "https://id.example", audience: [shipway], tenant: acme'


@pytest.mark.parametrize(
    ("issuer", "problem"),
    [
        (ISSUER.replace("[shipway]", "[]"), "audience is empty"),
        (ISSUER + ", algorithms: []", "algorithms is empty"),
        (ISSUER + ", algorithms: [HS256]", "must be 'RS256'"),
        (ISSUER + ", algorithms: [none]", "must be 'RS256'"),
        (ISSUER + ", tenant_claim: org", "give exactly one of tenant, tenant_claim"),
        (ISSUER.replace(", tenant: acme", ""), "give exactly one of tenant, tenant_claim"),
        (ISSUER.replace("https", "http"), "must begin with https://"),
        (ISSUER + ', jwks_url: "http://id.example/keys"', "must begin with https://"),
        (ISSUER + ', jwks_url: "http://127.0.0.1.evil.example/keys"', "must begin with https://"),
        (ISSUER + ', jwks_url: "file:///etc/passwd"', "must begin with https://"),
        (ISSUER + ", leeway_s: 4000", "at most 300"),
        (ISSUER + ", roles: {ops: operate}", "roles without roles_claim"),
        (ISSUER + ", roles_claim: r, roles: {ops: root}", "must be 'invoke'"),
    ],
)
def test_an_issuer_that_would_let_others_in_is_refused(problems, issuer, problem):
    found = problems(APP + f"auth:\n  issuers:\n    - {{{issuer}}}\n")
    assert any(problem in line for line in found), found
    assert all(line.startswith("shipway.yaml:8: auth.issuers[0]") for line in found)


def test_an_issuer_stands_there_once(problems):
    (found,) = problems(APP + f"auth:\n  issuers:\n    - {{{ISSUER}}}\n    - {{{ISSUER}}}\n")
    assert "names 'https://id.example' more than once" in found
