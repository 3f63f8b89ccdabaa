import base64
import hashlib
import hmac
import json

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from shipway.gateway.replies import RefusedError
from shipway.gateway.tokens import TokenDesk, TokenRefusedError


def part(value) -> str:
    data = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def code_of(desk, token: str) -> str:
    with pytest.raises(TokenRefusedError) as caught:
        desk.verify(token)
    return caught.value.code


@pytest.mark.parametrize(("kid", "algorithm"), [("rsa-1", "RS256"), ("ec-1", "ES256")])
async def test_a_signed_token_opens_as_its_tenant_groups_and_roles(provider, make_desk, kid, algorithm):
    desk = make_desk(
        provider, groups=("public",), roles_claim="realm.roles", roles={"ops": "operate"}, default_roles=("invoke",)
    )
    await desk.fetch()
    claims = {"groups": ["staff", 7], "realm": {"roles": ["ops", "root"]}}
    verified = desk.verify(provider.token(desk.clock.now_s(), kid, algorithm, **claims))
    entry = verified.entry
    assert (entry.tenant, entry.groups, entry.roles) == ("acme", ("public", "staff"), ("invoke", "operate"))
    assert entry.key_id.startswith("sub_")
    assert "ada" not in entry.key_id
    assert verified.until_s == desk.clock.now_s() + 600 + 30


async def test_expiry_and_not_before_allow_for_the_issuers_clock_and_no_more(provider, desk):
    now_s = desk.clock.now_s()
    desk.verify(provider.token(now_s, exp=now_s - 29))
    desk.verify(provider.token(now_s, nbf=now_s + 29))
    assert code_of(desk, provider.token(now_s, exp=now_s - 30)) == "token_expired"
    assert code_of(desk, provider.token(now_s, nbf=now_s + 31)) == "token_not_yet_valid"
    assert code_of(desk, provider.token(now_s, iat=now_s + 31)) == "token_not_yet_valid"


@pytest.mark.parametrize(
    ("claims", "code"),
    [
        ({"aud": "other"}, "wrong_audience"),
        ({"aud": ["a", "b"]}, "wrong_audience"),
        ({"aud": None}, "invalid_token"),
        ({"iss": "https://evil.example"}, "invalid_token"),
        ({"exp": None}, "invalid_token"),
        ({"sub": None}, "invalid_token"),
        ({"sub": ""}, "invalid_token"),
        ({"org": None}, "no_tenant"),
        ({"org": 7}, "no_tenant"),
        ({"org": ["acme"]}, "no_tenant"),
        ({"org": "x" * 201}, "no_tenant"),
    ],
)
async def test_a_token_with_a_wrong_claim_opens_nothing(provider, desk, claims, code):
    assert code_of(desk, provider.token(desk.clock.now_s(), **claims)) == code


@pytest.mark.parametrize("alg", ["none", "None", "NONE", "", "HS256", "RS1", None, 5])
async def test_an_algorithm_that_is_not_on_the_list_opens_nothing(provider, desk, alg):
    claims = {"iss": provider.url, "aud": "shipway", "sub": "ada", "exp": desk.clock.now_s() + 60, "org": "acme"}
    for signature in ("", part(b"x" * 256)):
        token = f"{part({'alg': alg, 'kid': 'rsa-1'})}.{part(claims)}.{signature}"
        assert code_of(desk, token) == "invalid_token"


@pytest.mark.parametrize("alg", ["HS256", "RS256", "ES256"])
async def test_a_public_key_is_no_shared_secret(provider, desk, alg):
    claims = {"iss": provider.url, "aud": "shipway", "sub": "ada", "exp": desk.clock.now_s() + 60, "org": "acme"}
    for secret in (provider.public_pem("rsa-1"), json.dumps(provider.public_jwk("rsa-1")).encode()):
        signed = f"{part({'alg': alg, 'kid': 'rsa-1'})}.{part(claims)}"
        token = f"{signed}.{part(hmac.new(secret, signed.encode(), hashlib.sha256).digest())}"
        assert code_of(desk, token) == "invalid_token"


async def test_a_key_in_the_tokens_own_header_is_not_used(provider, desk):
    mine = rsa.generate_private_key(65537, 2048)
    jwk = jwt.algorithms.RSAAlgorithm.to_jwk(mine.public_key(), as_dict=True)
    claims = {"iss": provider.url, "aud": "shipway", "sub": "ada", "exp": desk.clock.now_s() + 60, "org": "acme"}
    for headers in ({"kid": "rsa-1", "jwk": jwk}, {"kid": "rsa-1", "jku": "http://127.0.0.1:1/keys"}, {"jwk": jwk}):
        assert code_of(desk, jwt.encode(claims, mine, algorithm="RS256", headers=headers)) == "invalid_token"


@pytest.mark.parametrize(
    "kid", ["../rsa-1", "rsa-1/../rsa-1", "http://127.0.0.1/rsa-1", "rsa-1\x00", "' or 1=1", "RSA-1", "x" * 9000, ""]
)
async def test_a_key_id_is_a_name_in_a_table_and_nothing_else(provider, desk, kid):
    before = list(provider.asked)
    claims = {"iss": provider.url, "aud": "shipway", "sub": "ada", "exp": desk.clock.now_s() + 60, "org": "acme"}
    token = jwt.encode(claims, provider.private["rsa-1"], algorithm="RS256", headers={"kid": kid})
    assert code_of(desk, token) == "invalid_token"
    assert provider.asked == before


async def test_a_key_is_used_for_its_own_kind_of_algorithm_alone(provider, make_desk):
    desk = make_desk(provider, algorithms=("RS256", "PS256", "ES256", "ES384"))
    await desk.fetch()
    now_s = desk.clock.now_s()
    desk.verify(provider.token(now_s, "rsa-1", "PS256"))
    header = {"alg": "RS256", "kid": "ec-1"}
    rest = provider.token(now_s).split(".", 1)[1]
    assert code_of(desk, f"{part(header)}.{rest}") == "invalid_token"
    provider.private["p-384"] = ec.generate_private_key(ec.SECP384R1())
    provider.body = json.dumps(
        {"keys": [{**provider.public_jwk("ec-1")}, {**provider.public_jwk("p-384"), "alg": "ES384"}]}
    ).encode()
    await desk.fetch()
    desk.verify(provider.token(now_s, "p-384", "ES384"))


async def test_an_extension_that_must_be_understood_is_not(provider, desk):
    claims = {"iss": provider.url, "aud": "shipway", "sub": "ada", "exp": desk.clock.now_s() + 60, "org": "acme"}
    headers = {"kid": "rsa-1", "crit": ["b64"], "b64": False}
    token = jwt.encode(claims, provider.private["rsa-1"], algorithm="RS256", headers=headers)
    assert code_of(desk, token) == "invalid_token"


@pytest.mark.parametrize(
    "token",
    ["", ".", "..", "a.b.c", "a.b", "a.b.c.d", "é.b.c", f"{part([1])}.{part([1])}.x", f"{part({'alg': 'RS256'})}..",
     f"{part(b'[' * 5000)}.{part(b'{' * 5000)}.x", part(b"\xff") * 3],
)  # fmt: skip
async def test_what_is_no_token_is_refused_in_the_same_words(desk, token):
    assert code_of(desk, token) == "invalid_token"


async def test_every_changed_byte_of_a_token_closes_it(provider, desk):
    token = provider.token(desk.clock.now_s(), "ec-1", "ES256")
    for place in range(0, len(token) - 1, 7):
        if token[place] == ".":
            continue
        changed = token[:place] + ("A" if token[place] != "A" else "B") + token[place + 1 :]
        with pytest.raises(TokenRefusedError):
            desk.verify(changed)


async def test_refusals_hold_nothing_of_the_token(provider, desk):
    for token in (provider.token(desk.clock.now_s(), aud="secret-audience"), provider.token(desk.clock.now_s(), exp=1)):
        with pytest.raises(TokenRefusedError) as caught:
            desk.verify(token)
        assert "secret" not in caught.value.message
        assert provider.url not in caught.value.message


async def test_a_known_token_is_not_verified_again_until_it_ends_or_the_keys_change(provider, desk):
    tokens = TokenDesk(desk.verifier)
    token = provider.token(desk.clock.now_s())
    first = tokens.caller(token, now_s=desk.clock.now_s())
    assert tokens.caller(token, now_s=desk.clock.now_s()) is first
    desk.clock.advance(631.0)
    with pytest.raises(RefusedError) as caught:
        tokens.caller(token, now_s=desk.clock.now_s())
    assert (caught.value.status, caught.value.code) == (401, "token_expired")

    token = provider.token(desk.clock.now_s())
    tokens.caller(token, now_s=desk.clock.now_s())
    provider.private["rsa-1"] = rsa.generate_private_key(65537, 2048)
    await desk.fetch()
    with pytest.raises(RefusedError) as caught:
        tokens.caller(token, now_s=desk.clock.now_s())
    assert caught.value.code == "invalid_token"


async def test_before_the_issuers_keys_are_here_the_answer_is_to_try_again(provider, make_desk):
    provider.status = 503
    desk = make_desk(provider)
    await desk.fetch()
    with pytest.raises(RefusedError) as caught:
        TokenDesk(desk.verifier).caller(provider.token(desk.clock.now_s()), now_s=desk.clock.now_s())
    assert (caught.value.status, caught.value.code, caught.value.retry_after) == (503, "issuer_unavailable", "1")
    provider.status = 200
    await desk.fetch()
    desk.verify(provider.token(desk.clock.now_s()))
    assert [event for event, _ in desk.notes] == ["issuer_keys_not_read", "issuer_keys_read"]
