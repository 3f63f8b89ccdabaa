import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shipway.core.snapshot import KeyEntry
from shipway.gateway.auth import KeyRing
from shipway.gateway.replies import RefusedError


def entry(secret: str, **fields) -> KeyEntry:
    defaults = {"key_id": "k", "tenant": "t", "groups": ("g",), "roles": ("invoke",)}
    return KeyEntry(**{**defaults, "sha256": hashlib.sha256(secret.encode()).hexdigest(), **fields})


def test_a_key_opens_as_its_tenant_groups_and_roles():
    caller = KeyRing([entry("swk_a"), entry("swk_b", tenant="u")]).caller("Bearer swk_b", now_s=0.0)
    assert (caller.principal.tenant, caller.principal.groups) == ("u", frozenset({"g"}))
    caller.require("invoke")
    with pytest.raises(RefusedError, match="operate"):
        caller.require("operate")


def test_a_hash_written_with_its_algorithm_opens_too():
    digest = "sha256:" + hashlib.sha256(b"swk_a").hexdigest()
    assert KeyRing([entry("swk_a", sha256=digest)]).caller("bearer swk_a", now_s=0.0).key.key_id == "k"


def test_a_key_ends_at_its_expiry():
    ring = KeyRing([entry("swk_a", expires_at_s=100.0)])
    ring.caller("Bearer swk_a", now_s=99.9)
    with pytest.raises(RefusedError) as caught:
        ring.caller("Bearer swk_a", now_s=100.0)
    assert caught.value.code == "key_expired"


@given(st.text())
def test_no_other_header_opens(header):
    ring = KeyRing([entry("swk_a")])
    for value in (header, f"Bearer {header}", f"Bearer swk_a{header}"):
        if value.strip() != "Bearer swk_a":
            with pytest.raises(RefusedError) as caught:
                ring.caller(value, now_s=0.0)
            assert caught.value.status == 401


def test_a_key_with_a_list_of_routes_opens_only_those():
    caller = KeyRing([entry("swk_a", routes=("x",))]).caller("Bearer swk_a", now_s=0.0)
    caller.require_route("x")
    with pytest.raises(RefusedError) as caught:
        caller.require_route("y")
    assert caught.value.status == 403
