import asyncio
import json

import pytest

from shipway.gateway.tokens import TokenRefusedError


async def test_the_discovery_document_says_where_the_keys_are(provider, desk):
    assert provider.asked == ["/.well-known/openid-configuration", "/keys"]
    assert set(desk.keys.of(provider.url).keys) == {"rsa-1", "ec-1"}


async def test_an_address_in_the_project_file_is_asked_directly(provider, make_desk):
    desk = make_desk(provider, jwks_url=f"{provider.url}/own")
    await desk.fetch()
    assert provider.asked == ["/own"]


async def test_a_discovery_document_of_another_issuer_is_not_believed(provider, make_desk):
    desk = make_desk(provider, issuer=provider.url + "/")
    await desk.fetch()
    assert desk.keys.of(provider.url + "/").keys is None
    assert desk.notes[0][0] == "issuer_keys_not_read"


@pytest.mark.parametrize(
    "body",
    [b"", b"[]", b"{}", b'{"keys": []}', b'{"keys": {}}', b'{"keys": [7, {"kty": "oct", "k": "c2VjcmV0"}]}',
     b'{"keys": [{"kty": "RSA", "n": "x"}]}', b"{" * 20_000, b"x" * ((1 << 20) + 5)],
)  # fmt: skip
async def test_a_broken_key_set_leaves_the_known_keys_in_force(provider, desk, body):
    provider.body = body
    await desk.fetch()
    desk.verify(provider.token(desk.clock.now_s()))
    assert [event for event, _ in desk.notes] == ["issuer_keys_not_read"]


async def test_shared_secrets_and_encryption_keys_are_left_out(provider, desk):
    keys = [
        {"kty": "oct", "k": "c2VjcmV0", "kid": "rsa-1", "alg": "HS256"},
        {**provider.public_jwk("rsa-1"), "use": "enc", "kid": "enc"},
        {**provider.public_jwk("rsa-1"), "alg": "RSA-OAEP", "kid": "oaep"},
        provider.public_jwk("ec-1"),
    ]
    provider.body = json.dumps({"keys": keys}).encode()
    await desk.fetch()
    assert set(desk.keys.of(provider.url).keys) == {"ec-1"}


async def test_a_redirect_is_not_followed(provider, desk):
    provider.status = 302
    await desk.fetch()
    assert desk.notes[0][0] == "issuer_keys_not_read"


async def test_unknown_key_ids_ask_for_fresh_keys_at_most_once_a_minute(provider, make_desk):
    desk = make_desk(provider)
    work = asyncio.ensure_future(desk.keys.run())
    found = desk.keys.of(provider.url)
    while found.keys is None:
        await asyncio.sleep(0)
    asked = len(provider.asked)
    provider.private["new"] = provider.private.pop("rsa-1")
    token = provider.token(desk.clock.now_s(), "new")
    for _ in range(20):
        with pytest.raises(TokenRefusedError):
            desk.verify(token)
        await asyncio.sleep(0)
    assert len(provider.asked) == asked
    desk.clock.advance(60.0)
    with pytest.raises(TokenRefusedError):
        desk.verify(token)
    while "new" not in found.keys:
        await asyncio.sleep(0)
    desk.verify(token)
    assert len(provider.asked) == asked + 2
    work.cancel()
    await asyncio.gather(work, return_exceptions=True)
