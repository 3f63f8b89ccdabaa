"""The ids of responses (OpenAI's Responses API) as callers see them: the engine's own, and a seal of whose they are.

Engines keep responses by an id alone, and all tenants reach them with the gateway's one key. The seal says which engine
has the response, and that it was made for this tenant. It needs no table, so any worker reads it, also after a restart.
`relay` seals what passes, `response_desk` finds a kept response by its seal.
"""

import hmac
import re
from collections.abc import Mapping
from hashlib import blake2b
from typing import Any

import orjson

from shipway.gateway.accounting import Account
from shipway.gateway.ports import ChatRoute
from shipway.gateway.replies import RefusedError

FIELDS = ("id", "previous_response_id")
_SEALED = re.compile(r"([A-Za-z0-9][A-Za-z0-9_.:-]{0,199})_([0-9a-f]{8})([0-9a-f]{16})")
_OWN = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:-]{0,199}")
_ENGINE_BYTES = 4
_OWNER_BYTES = 8


class ResponseNames:
    """The ids of one tenant's responses on one engine."""

    __slots__ = ("_engine", "_key", "_tenant")

    def __init__(self, key: bytes, tenant: str | None, engine_url: str) -> None:
        self._key = key
        self._tenant = tenant
        self._engine = blake2b(engine_url.encode(), digest_size=_ENGINE_BYTES, key=key).hexdigest()

    @classmethod
    def of(cls, account: Account, route: ChatRoute) -> "ResponseNames":
        """Return the names of a request's responses; a shadow copy has no tenant, and was looked at before."""
        tenant = account.caller.key.tenant if account.caller else None
        return cls(account.settings.question_hash_key, tenant, route.engine_base_url)

    def sealed(self, own: str) -> str:
        """Return an engine's id as the caller gets it."""
        return f"{own}_{self._engine}{self._owner(own)}"

    def opened(self, given: str) -> str | None:
        """Return the engine's id, None when the caller's tenant was never given this one."""
        parts = _SEALED.fullmatch(given)
        if parts is None:
            return None
        own, _, owner = parts.groups()
        return own if self._tenant is None or hmac.compare_digest(owner, self._owner(own)) else None

    def is_here(self, given: str) -> bool:
        """Return whether the seal names this engine."""
        parts = _SEALED.fullmatch(given)
        return parts is not None and parts[2] == self._engine

    def asked(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """Return a request's body with the engine's id of the response that it goes on from.

        Raises:
            RefusedError: 400, the tenant has no such response.
        """
        given = body.get("previous_response_id")
        if given is None:
            return dict(body)
        own = self.opened(given)
        if own is None:
            message = f"there is no response {given[:100]!r} to go on from; send the id of one that was made here"
            raise RefusedError(400, message, code="previous_response_not_found", param="previous_response_id")
        return {**body, "previous_response_id": own}

    def swaps(self, response: Mapping[str, Any]) -> list[tuple[bytes, bytes]]:
        """Return what to replace in the bytes of a response, so that its ids are sealed."""
        owns = [response.get(name) for name in FIELDS]
        return [
            (f'"{own}"'.encode(), f'"{self.sealed(own)}"'.encode())
            for own in owns
            if isinstance(own, str) and _OWN.fullmatch(own)
        ]

    def _owner(self, own: str) -> str:
        said = f"{self._tenant}\0{own}".encode()
        return blake2b(said, digest_size=_OWNER_BYTES, key=self._key).hexdigest()


def swapped(raw: bytes, swaps: list[tuple[bytes, bytes]]) -> bytes:
    """Return bytes with each id replaced; ids are random, so they stand nowhere else."""
    for own, sealed in swaps:
        raw = raw.replace(own, sealed)
    return raw


def sealed_reply(names: ResponseNames, raw: bytes) -> bytes:
    """Return a whole reply of the Responses API with sealed ids."""
    try:
        value = orjson.loads(raw)
    except orjson.JSONDecodeError:
        return raw
    return swapped(raw, names.swaps(value)) if isinstance(value, dict) else raw
