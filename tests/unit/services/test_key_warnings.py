from dataclasses import replace

import pytest

from shipway.adapters.memory.store import MemoryStore
from shipway.config.loading import load_project
from shipway.core.snapshot import KeyEntry
from shipway.services.key_warnings import key_warnings

PROJECT = """app: shop
models:
  small: {engine: echo, model: echo}
routes:
  chat: {kind: chat, model: small, prompt: chat}
prompts: {chat: chat.yaml}
tenants: {acme: {}, other: {}}
key_limits:
  key_1: {tenant: acme, per_key_min: 5}
  key_2: {tenant: acme, per_key_min: 5}
routing:
  rules:
    - tenant: [acme, other]
      to: small
"""
KEY = KeyEntry("key_1", "0" * 64, "acme", ("public",), ("invoke",))

pytestmark = pytest.mark.anyio


@pytest.fixture
def warnings(tmp_path):
    async def found(*keys: KeyEntry, more: str = "") -> list[str]:
        (tmp_path / "shipway.yaml").write_text(PROJECT + more)
        store = MemoryStore()
        for key in keys:
            await store.keys.add(key, created_at_s=0.0)
        return await key_warnings(load_project(tmp_path, {}), store.keys, now_s=1000.0)

    return found


async def test_limits_of_a_key_that_is_not_there_are_a_warning_with_their_line(warnings):
    found = await warnings(KEY, replace(KEY, key_id="key_9", sha256="1" * 64, tenant="other"))

    (line,) = found
    assert line == (
        "shipway.yaml:10: key_limits.key_2: no key in force has this id, so these limits hold for nobody;"
        " `shipway key list` shows the ids"
    )


async def test_a_key_that_has_expired_is_none(warnings):
    found = await warnings(replace(KEY, expires_at_s=999.0))

    assert [line.split(": ")[1] for line in found] == ["key_limits.key_1", "key_limits.key_2"]


async def test_a_rule_for_a_tenant_without_keys_is_a_warning_with_its_line(warnings):
    (_, found) = await warnings(KEY)

    assert found.startswith("shipway.yaml:13: routing.rules[0].tenant: no key in force belongs to 'other'")
    assert "(there are keys of acme)" in found


async def test_before_there_are_keys_nothing_is_said_about_tenants(warnings):
    assert not any("routing" in line for line in await warnings())


ISSUER = 'auth: {issuers: [{issuer: "https://id.example", audience: [shop], %s}]}\n'


@pytest.mark.parametrize("tenant", ["tenant: other", "tenant_claim: org"])
async def test_an_issuer_may_bring_the_tenant(warnings, tenant):
    assert not any("routing" in line for line in await warnings(KEY, more=ISSUER % tenant))
