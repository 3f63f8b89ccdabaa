"""Checks JSON Web Tokens against the issuers of the project file. Implements `gateway.tokens.TokenVerifier`.

Source: RFC 7519, RFC 8725 (best practices): the algorithm is chosen from a list, never from the token alone; a key is
used for its own kind of algorithm; issuer and audience are compared whole.
"""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import jwt
from jwt import PyJWK
from jwt.exceptions import (
    ExpiredSignatureError,
    ImmatureSignatureError,
    InvalidAudienceError,
    InvalidIssuerError,
    MissingRequiredClaimError,
    PyJWTError,
)

from shipway.adapters.oidc.key_sets import KeySet, KeySets, KeySource
from shipway.config.sections.auth import Issuer
from shipway.core.snapshot import KeyEntry
from shipway.gateway.tokens import ISSUER_UNAVAILABLE, TokenRefusedError, VerifiedToken

_FAMILIES = {"RS": "RSA", "PS": "RSA", "ES": "EC", "Ed": "OKP"}
_CURVES = {"ES256": "P-256", "ES384": "P-384", "ES512": "P-521"}
_LONGEST_NAME = 200
_INVALID = ("invalid_token", "the token is not valid here")


def key_source(issuer: Issuer) -> KeySource:
    """Return where an issuer's keys are read."""
    return KeySource(issuer.issuer, issuer.jwks_url, frozenset(issuer.algorithms), issuer.refresh_s)


class OidcVerifier:
    """The issuers of one project."""

    def __init__(self, issuers: Sequence[Issuer], keys: KeySets, known_tenants: frozenset[str] = frozenset()) -> None:
        self._issuers = {issuer.issuer: issuer for issuer in issuers}
        self._keys = keys
        self._tenants = known_tenants

    @property
    def epoch(self) -> int:
        """Return a number that changes with the issuers' keys."""
        return self._keys.epoch

    def verify(self, token: str, *, now_s: float) -> VerifiedToken:
        """Return who a token is."""
        header, issuer = self._addressed(token)
        keys = self._keys.of(issuer.issuer)
        if keys is None or keys.keys is None:
            raise TokenRefusedError(ISSUER_UNAVAILABLE, "the issuer's public keys are not here yet; try again")
        key = self._key(keys, header)
        claims = self._claims(token, key, issuer, header["alg"], now_s)
        return VerifiedToken(self._entry(claims, issuer), float(claims["exp"]) + issuer.leeway_s)

    def _addressed(self, token: str) -> tuple[Mapping[str, Any], Issuer]:
        """Return the header and the issuer that a token claims; neither is believed yet."""
        try:
            header = jwt.get_unverified_header(token)
            claimed = jwt.decode(token, options={"verify_signature": False}).get("iss")
        except (PyJWTError, ValueError, RecursionError):
            raise TokenRefusedError(*_INVALID) from None
        issuer = self._issuers.get(claimed) if isinstance(claimed, str) else None
        # `crit` names extensions that must be understood; none is.
        if issuer is None or header.get("alg") not in issuer.algorithms or "crit" in header:
            raise TokenRefusedError(*_INVALID)
        return header, issuer

    def _key(self, keys: KeySet, header: Mapping[str, Any]) -> PyJWK:
        known = keys.keys or {}
        kid = header.get("kid")
        if kid is None and len(known) == 1:
            key = next(iter(known.values()))
        else:
            # Looked up in a table, whatever is in it: no path, query or address is ever made of it.
            found = known.get(kid) if isinstance(kid, str) else None
            if found is None:
                self._keys.miss(keys)
                raise TokenRefusedError(*_INVALID)
            key = found
        data = key._jwk_data  # noqa: SLF001 - PyJWK shows its kind nowhere else
        algorithm = header["alg"]
        fits = data.get("kty") == _FAMILIES[algorithm[:2]] and data.get("alg", algorithm) == algorithm
        if not fits or (algorithm in _CURVES and data.get("crv") != _CURVES[algorithm]):
            raise TokenRefusedError(*_INVALID)
        return key

    @staticmethod
    def _claims(token: str, key: PyJWK, issuer: Issuer, algorithm: str, now_s: float) -> dict[str, Any]:
        try:
            claims: dict[str, Any] = jwt.decode(
                token,
                key=key.key,
                algorithms=[algorithm],
                audience=list(issuer.audience),
                issuer=issuer.issuer,
                options={
                    "require": ["exp", "iss", "aud", "sub"],
                    # Time is checked below, by the injected clock.
                    "verify_exp": False,
                    "verify_nbf": False,
                    "verify_iat": False,
                },
            )
            _check_times(claims, issuer.leeway_s, now_s)
        except ExpiredSignatureError:
            raise TokenRefusedError("token_expired", "the token has expired; ask its issuer for a new one") from None
        except ImmatureSignatureError:
            raise TokenRefusedError("token_not_yet_valid", "the token is not valid yet") from None
        except InvalidAudienceError:
            raise TokenRefusedError("wrong_audience", "the token was issued for another service") from None
        except (MissingRequiredClaimError, InvalidIssuerError, PyJWTError, ValueError, TypeError, RecursionError):
            raise TokenRefusedError(*_INVALID) from None
        return claims

    def _entry(self, claims: Mapping[str, Any], issuer: Issuer) -> KeyEntry:
        tenant = issuer.tenant if issuer.tenant_claim is None else _claim(claims, issuer.tenant_claim)
        if not isinstance(tenant, str) or not tenant or len(tenant) > _LONGEST_NAME:
            raise TokenRefusedError("no_tenant", "the token does not say which tenant it belongs to")
        if self._tenants and tenant not in self._tenants:
            raise TokenRefusedError("unknown_tenant", "the token's tenant is not known here")
        groups = {*issuer.groups, *_names(claims, issuer.groups_claim)}
        mapped = {issuer.roles[name] for name in _names(claims, issuer.roles_claim) if name in issuer.roles}
        subject = claims["sub"]
        if not isinstance(subject, str) or not subject:
            raise TokenRefusedError(*_INVALID)
        # Short, the same in every worker, and never a key's id; a subject may be an e-mail address, so it is hashed.
        digest = hashlib.sha256(f"{issuer.issuer}\x00{subject}".encode()).hexdigest()
        return KeyEntry(
            key_id=f"sub_{digest[:24]}",
            sha256="",
            tenant=tenant,
            groups=tuple(sorted(groups)),
            roles=tuple(sorted({*issuer.default_roles, *mapped})),
            expires_at_s=None,
        )


def _check_times(claims: Mapping[str, Any], leeway_s: float, now_s: float) -> None:
    if now_s >= _time(claims["exp"]) + leeway_s:
        raise ExpiredSignatureError
    for name in ("nbf", "iat"):
        if name in claims and now_s < _time(claims[name]) - leeway_s:
            raise ImmatureSignatureError


def _time(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError("a time that is no number")
    found = float(value)
    if not abs(found) < 1e12:  # noqa: PLR2004 - the year 33658; NaN and infinity fail too
        raise ValueError("a time out of range")
    return found


def _claim(claims: Mapping[str, Any], path: str) -> Any:
    """Return a claim by its name, or by a path of names; a claim that has the whole path as its name comes first."""
    if path in claims:
        return claims[path]
    found: Any = claims
    for part in path.split("."):
        found = found.get(part) if isinstance(found, Mapping) else None
    return found


def _names(claims: Mapping[str, Any], path: str | None) -> list[str]:
    found = _claim(claims, path) if path else None
    if isinstance(found, str):
        found = found.split()
    return [name for name in found if isinstance(name, str)] if isinstance(found, list) else []
