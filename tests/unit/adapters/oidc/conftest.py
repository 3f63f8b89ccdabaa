"""An issuer on loopback: real keys, a real key set, and every way to misbehave."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from shipway.adapters.oidc.key_sets import KeySets
from shipway.adapters.oidc.verifier import OidcVerifier, key_source
from shipway.config.sections.auth import Issuer
from shipway.core.clock import ManualClock


class Provider:
    """An OpenID provider: serves what `documents` says and counts who asks."""

    def __init__(self) -> None:
        self.private = {
            "rsa-1": rsa.generate_private_key(65537, 2048),
            "ec-1": ec.generate_private_key(ec.SECP256R1()),
        }
        self.asked: list[str] = []
        self.status = 200
        self.body: bytes | None = None
        self._server: asyncio.Server | None = None
        self.url = ""

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        path = head.split(b" ")[1].decode()
        self.asked.append(path)
        if path == "/.well-known/openid-configuration":
            body = json.dumps({"issuer": self.url, "jwks_uri": f"{self.url}/keys"}).encode()
        else:
            body = self.body if self.body is not None else json.dumps(self.key_set()).encode()
        writer.write(
            f"HTTP/1.1 {self.status} X\r\ncontent-length: {len(body)}\r\nconnection: close\r\n\r\n".encode() + body
        )
        await writer.drain()
        writer.close()

    def key_set(self) -> dict[str, Any]:
        return {"keys": [self.public_jwk(kid) for kid in self.private]}

    def public_jwk(self, kid: str) -> dict[str, Any]:
        public = self.private[kid].public_key()
        if isinstance(public, rsa.RSAPublicKey):
            return {**jwt.algorithms.RSAAlgorithm.to_jwk(public, as_dict=True), "kid": kid, "use": "sig"}
        return {**jwt.algorithms.ECAlgorithm.to_jwk(public, as_dict=True), "kid": kid, "use": "sig", "alg": "ES256"}

    def public_pem(self, kid: str) -> bytes:
        return (
            self.private[kid]
            .public_key()
            .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
        )

    def token(self, now_s: float, kid: str = "rsa-1", algorithm: str = "RS256", **claims: Any) -> str:
        body = {"iss": self.url, "aud": "shipway", "sub": "ada", "exp": now_s + 600, "org": "acme", **claims}
        body = {name: value for name, value in body.items() if value is not None}
        return jwt.encode(body, self.private[kid], algorithm=algorithm, headers={"kid": kid})


@pytest.fixture
async def provider() -> AsyncIterator[Provider]:
    made = Provider()
    await made.start()
    yield made
    await made.stop()


class Desk:
    """A verifier, its key sets, and the time."""

    def __init__(self, provider: Provider, **fields: Any) -> None:
        given = {"issuer": provider.url, "audience": ("shipway",), "tenant_claim": "org", **fields}
        self.issuer = Issuer(**given)
        self.clock = ManualClock()
        self.clock.advance(1000.0)
        self.notes: list[tuple[str, dict[str, object]]] = []
        self.keys = KeySets([key_source(self.issuer)], self.clock, note=self._note, uniform=lambda: 0.5)
        self.verifier = OidcVerifier([self.issuer], self.keys)

    def _note(self, event: str, **fields: object) -> None:
        self.notes.append((event, fields))

    async def fetch(self) -> None:
        found = self.keys.of(self.issuer.issuer)
        assert found is not None
        async with aiohttp.ClientSession() as session:
            await self.keys.fetch(session, found)

    def verify(self, token: str) -> Any:
        return self.verifier.verify(token, now_s=self.clock.now_s())


@pytest.fixture
def make_desk() -> type[Desk]:
    return Desk


@pytest.fixture
async def desk(provider: Provider) -> Desk:
    made = Desk(provider)
    await made.fetch()
    return made
