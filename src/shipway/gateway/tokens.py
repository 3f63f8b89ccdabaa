"""Bearer tokens beside keys: the port, and the memory that makes a known token cost as little as a key.

`auth` asks the desk for what is no key of ours. Below: `adapters/oidc`.
"""

import hashlib
from dataclasses import dataclass
from typing import Protocol

from shipway.core.snapshot import KeyEntry
from shipway.gateway.auth import Caller, caller_of
from shipway.gateway.replies import RefusedError

ISSUER_UNAVAILABLE = "issuer_unavailable"

_MOST_KNOWN = 10_000
_LONGEST_TOKEN = 16_384


class TokenRefusedError(Exception):
    """A token that does not open; `code` and the message tell the caller no more than it may know."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


@dataclass(frozen=True, slots=True)
class VerifiedToken:
    """Who a token is, as an entry of the key ring, and when it ends (Unix time)."""

    entry: KeyEntry
    until_s: float


class TokenVerifier(Protocol):
    """Checks a token's signature and claims; never waits, because the issuers' keys are fetched in the background."""

    def verify(self, token: str, *, now_s: float) -> VerifiedToken:
        """Return who it is.

        Raises:
            TokenRefusedError: it does not open here.
        """
        ...

    @property
    def epoch(self) -> int:
        """Return a number that changes when an issuer's keys do; what was verified before is verified again."""
        ...


class TokenDesk:
    """A verifier and the callers that it has let in, by their tokens' hashes, until they end."""

    def __init__(self, verifier: TokenVerifier) -> None:
        self._verifier = verifier
        self._known: dict[bytes, tuple[Caller, float]] = {}
        self._epoch = verifier.epoch

    def caller(self, token: str, *, now_s: float) -> Caller:
        """Return who holds a token.

        Raises:
            RefusedError: 401, it does not open here; 503, nobody can say yet.
        """
        if len(token) > _LONGEST_TOKEN or not token.isascii():
            raise RefusedError(401, "the token is not valid here", code="invalid_token")
        if self._epoch != self._verifier.epoch:
            self._known.clear()
            self._epoch = self._verifier.epoch
        digest = hashlib.sha256(token.encode()).digest()
        known = self._known.get(digest)
        if known is not None and now_s < known[1]:
            return known[0]
        try:
            verified = self._verifier.verify(token, now_s=now_s)
        except TokenRefusedError as refused:
            if refused.code == ISSUER_UNAVAILABLE:
                raise RefusedError(503, refused.message, code=refused.code, retry_after="1") from None
            raise RefusedError(401, refused.message, code=refused.code) from None
        if len(self._known) >= _MOST_KNOWN:
            self._known = {key: value for key, value in self._known.items() if now_s < value[1]}
            if len(self._known) >= _MOST_KNOWN:
                self._known.clear()
        caller = caller_of(verified.entry)
        self._known[digest] = (caller, verified.until_s)
        return caller
