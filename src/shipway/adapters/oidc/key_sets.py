"""The public keys of issuers, fetched in the background and kept; `verifier` reads them without waiting."""

import asyncio
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import aiohttp
from jwt import PyJWK
from jwt.exceptions import PyJWTError

from shipway.core.clock import Clock
from shipway.gateway.ports import EventNote

_RETRY_FIRST_S = 1.0
_RETRY_CAP_S = 60.0
_LEAST_BETWEEN_S = 60.0
"""An unknown key id asks for fresh keys at most this often: callers choose it, so it must not drive requests."""
_TIMEOUT_S = 5.0
_LARGEST_BYTES = 1 << 20
_MOST_KEYS = 100
_OK = 200
_WELL_KNOWN = "/.well-known/openid-configuration"


@dataclass(frozen=True, slots=True)
class KeySource:
    """One issuer's keys: where they are and how often they are read again."""

    issuer: str
    jwks_url: str | None
    algorithms: frozenset[str]
    refresh_s: float


@dataclass(slots=True)
class KeySet:
    """What is known of one issuer; `keys` by key id, None before they were first read."""

    source: KeySource
    keys: dict[str, PyJWK] | None = None
    read_at_s: float = 0.0
    failures: int = 0
    wanted: asyncio.Event = field(default_factory=asyncio.Event)
    tried: asyncio.Event = field(default_factory=asyncio.Event)


class KeySets:
    """The issuers' keys; the wiring runs `run` beside the server."""

    def __init__(
        self, sources: Sequence[KeySource], clock: Clock, *, note: EventNote, uniform: Callable[[], float]
    ) -> None:
        self._sets = {source.issuer: KeySet(source) for source in sources}
        self._clock = clock
        self._note = note
        self._uniform = uniform
        self.epoch = 0

    def inherit(self, before: "KeySets") -> None:
        """Take over the keys of the issuers that are asked as before."""
        for name, known in before._sets.items():  # noqa: SLF001 - another of its own kind
            mine = self._sets.get(name)
            if mine is not None and mine.source == known.source and known.keys is not None:
                mine.keys, mine.failures = known.keys, known.failures
                mine.tried.set()

    async def tried(self) -> None:
        """Wait until `run` has asked every issuer once."""
        for keys in self._sets.values():
            await keys.tried.wait()

    def of(self, issuer: str) -> KeySet | None:
        """Return an issuer's keys; None when it is none of ours."""
        return self._sets.get(issuer)

    def miss(self, keys: KeySet) -> None:
        """Ask for fresh keys, because a token names one that is not there; heard at most once a minute."""
        if self._clock.monotonic_s() - keys.read_at_s >= _LEAST_BETWEEN_S:
            keys.wanted.set()

    async def run(self) -> None:
        """Fetch until cancelled."""
        timeout = aiohttp.ClientTimeout(total=_TIMEOUT_S)
        # No proxies or credentials from the environment, and no redirects: the address in the file is the one trusted.
        async with aiohttp.ClientSession(timeout=timeout) as session, asyncio.TaskGroup() as group:
            for keys in self._sets.values():
                group.create_task(self._mind(session, keys))

    async def _mind(self, session: aiohttp.ClientSession, keys: KeySet) -> None:
        while True:
            await self.fetch(session, keys)
            keys.tried.set()
            wait_s = keys.source.refresh_s
            if keys.failures:
                longest_s = min(_RETRY_CAP_S, _RETRY_FIRST_S * 2.0 ** min(keys.failures, 10))
                wait_s = longest_s * (0.5 + self._uniform() / 2)
            keys.wanted.clear()
            try:
                async with asyncio.timeout(wait_s):
                    await keys.wanted.wait()
            except TimeoutError:
                continue

    async def fetch(self, session: aiohttp.ClientSession, keys: KeySet) -> None:
        """Read an issuer's keys once; what cannot be read leaves those that are known in force."""
        source = keys.source
        keys.read_at_s = self._clock.monotonic_s()
        try:
            url = source.jwks_url or await self._discovered(session, source.issuer)
            found = _parsed(await _json(session, url), source.algorithms)
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            keys.failures += 1
            if keys.failures == 1:
                self._note("issuer_keys_not_read", issuer=source.issuer, error=repr(error))
            return
        if keys.failures:
            self._note("issuer_keys_read", issuer=source.issuer, keys=len(found))
        keys.failures = 0
        if _differ(keys.keys, found):
            keys.keys = found
            self.epoch += 1

    @staticmethod
    async def _discovered(session: aiohttp.ClientSession, issuer: str) -> str:
        about = await _json(session, issuer.rstrip("/") + _WELL_KNOWN)
        url = about.get("jwks_uri")
        if about.get("issuer") != issuer or not isinstance(url, str):
            raise ValueError("the discovery document is another issuer's, or names no jwks_uri")
        if url.split(":", 1)[0] != issuer.split(":", 1)[0] and not url.startswith("https://"):
            raise ValueError("jwks_uri is less protected than the issuer")
        return url


async def _json(session: aiohttp.ClientSession, url: str) -> dict[str, Any]:
    async with session.get(url, allow_redirects=False, headers={"accept": "application/json"}) as reply:
        if reply.status != _OK:
            raise ValueError(f"{url} answered with status {reply.status}")
        data = await reply.content.read(_LARGEST_BYTES + 1)
        while not reply.content.at_eof() and len(data) <= _LARGEST_BYTES:
            data += await reply.content.read(_LARGEST_BYTES + 1 - len(data))
    if len(data) > _LARGEST_BYTES:
        raise ValueError(f"{url} answered with more than {_LARGEST_BYTES} bytes")
    found = json.loads(data)
    if not isinstance(found, dict):
        raise ValueError(f"{url} did not answer with a JSON object")  # noqa: TRY004 - what it sent is wrong
    return found


def _parsed(document: dict[str, Any], algorithms: frozenset[str]) -> dict[str, PyJWK]:
    """Return the keys that may check a signature; others (encryption, shared secrets, unknown kinds) are left out."""
    entries = document.get("keys")
    if not isinstance(entries, list):
        raise ValueError("the key set has no list of keys")  # noqa: TRY004 - what it sent is wrong
    found: dict[str, PyJWK] = {}
    for entry in entries[:_MOST_KEYS]:
        if not isinstance(entry, dict) or entry.get("kty") not in {"RSA", "EC", "OKP"} or entry.get("use") == "enc":
            continue
        kid = entry.get("kid", "")
        try:
            key = PyJWK(entry)
        except (PyJWTError, ValueError, TypeError, KeyError):
            continue
        # A key without `alg` is checked against the token's own algorithm, which must be on the list, by its kind.
        if isinstance(kid, str) and (entry.get("alg") is None or key.algorithm_name in algorithms):
            found[kid] = key
    if not found:
        raise ValueError("the key set has no key for the accepted algorithms")
    return found


def _differ(before: dict[str, PyJWK] | None, after: dict[str, PyJWK]) -> bool:
    if before is None or before.keys() != after.keys():
        return True
    return any(before[kid]._jwk_data != key._jwk_data for kid, key in after.items())  # noqa: SLF001 - no public way
