"""The issuers of a gateway when its configuration changes: keys that are here stay, nobody is asked without need."""

import pytest

from shipway.adapters.memory.store import MemoryStore
from shipway.config.loading import load_project
from shipway.core.clock import SystemClock
from shipway.entrypoints.gateway_limits import Issuers, issuers_of
from shipway.services.application import Application, Workspace

PROJECT = """
app: shop
models: { echo: { engine: echo, model: echo } }
routes: { chat: { kind: chat, model: echo } }
tenants: { acme: {}, globex: {} }
"""
ISSUER = '{{ issuer: "https://{name}.example", audience: [shop], tenant: {tenant}, jwks_url: "{jwks}" }}'

pytestmark = pytest.mark.anyio


@pytest.fixture
def made(tmp_path):
    def make(*issuers: str, before: Issuers | None = None) -> Issuers:
        named = f"auth: {{ issuers: [{', '.join(issuers)}] }}\n" if issuers else ""
        (tmp_path / "shipway.yaml").write_text(PROJECT + named)
        app = Application(load_project(tmp_path, {}), Workspace(tmp_path), MemoryStore(), SystemClock(), "gateway")
        return issuers_of(app, lambda *_, **__: None, lambda: 0.5, before)

    return make


def issuer(name: str, tenant: str = "acme", jwks: str = "http://127.0.0.1:9/keys") -> str:
    return ISSUER.format(name=name, tenant=tenant, jwks=jwks)


async def test_without_an_issuer_there_is_nothing_to_fetch(made):
    found = made()

    assert (found.desk, found.run) == (None, None)
    await found.settled(0.0)


async def test_the_same_issuers_are_the_same_desk(made):
    first = made(issuer("one"))

    assert made(issuer("one"), before=first) is first


async def test_keys_that_are_here_stay_when_another_issuer_comes(made):
    first = made(issuer("one"))
    first.keys.of("https://one.example").keys = {}

    second = made(issuer("one", tenant="globex"), issuer("two"), before=first)

    assert second.desk is not first.desk
    assert second.keys.of("https://one.example").keys == {}
    assert second.keys.of("https://two.example").keys is None


async def test_an_issuer_that_is_read_elsewhere_is_read_again(made):
    first = made(issuer("one"))
    first.keys.of("https://one.example").keys = {}

    second = made(issuer("one", jwks="http://127.0.0.1:9/others"), before=first)

    assert second.keys.of("https://one.example").keys is None


async def test_an_issuer_that_is_gone_holds_nothing_back_for_long(made):
    found = made(issuer("one"))

    await found.settled(0.01)
