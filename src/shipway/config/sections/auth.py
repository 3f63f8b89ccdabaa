"""`auth`: who may call beside the holders of keys; an environment's own business."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from shipway.config.sections.section import Section

Algorithm = Literal["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"]
"""Signatures by a private key alone: with a shared secret every reader of the public key set could sign."""
Role = Literal["invoke", "operate", "admin"]

_LOOPBACK = ("http://127.0.0.1", "http://localhost", "http://[::1]")


class Issuer(Section):
    """One issuer of JSON Web Tokens (OpenID Connect)."""

    issuer: Annotated[str, Field(min_length=1)]
    """What the claim `iss` must be, to the letter."""
    audience: tuple[str, ...]
    """What the claim `aud` must name one of."""
    jwks_url: str | None = None
    """Where the issuer's public keys are; by default what `<issuer>/.well-known/openid-configuration` says."""
    algorithms: tuple[Algorithm, ...] = ("RS256", "ES256")
    """Signatures that are accepted."""
    leeway_s: Annotated[float, Field(ge=0, le=300)] = 30.0
    """Seconds by which the issuer's clock may differ."""
    refresh_s: Annotated[float, Field(ge=60)] = 3600.0
    """Seconds after which the public keys are read again; an unknown one is looked for at most once a minute."""
    tenant: str | None = None
    """The tenant of all its callers."""
    tenant_claim: str | None = None
    """The claim that names the tenant, instead of `tenant`; dots lead into objects (`org.id`)."""
    groups_claim: str | None = "groups"
    """The claim that lists the document groups."""
    groups: tuple[str, ...] = ("public",)
    """Groups that every caller has besides."""
    roles_claim: str | None = None
    """The claim that lists the issuer's names of roles; `roles` says what they stand for."""
    roles: dict[str, Role] = Field(default_factory=dict)
    """Which role a name in `roles_claim` stands for; other names stand for nothing."""
    default_roles: tuple[Role, ...] = ("invoke",)
    """Roles that every caller has."""

    @model_validator(mode="after")
    def _makes_sense(self) -> Self:
        if not self.audience:
            raise ValueError("audience is empty: a token made for another service would open this one")
        if not self.algorithms:
            raise ValueError("algorithms is empty, so no token could be accepted")
        if (self.tenant is None) == (self.tenant_claim is None):
            raise ValueError("give exactly one of tenant, tenant_claim")
        if self.roles and self.roles_claim is None:
            raise ValueError("roles without roles_claim stand for nothing")
        for name, url in (("issuer", None if self.jwks_url else self.issuer), ("jwks_url", self.jwks_url)):
            if url is not None and not _fetchable(url):
                raise ValueError(
                    f"{name} {url!r} must begin with https://, so that nobody can swap the keys on the way"
                )
        return self


class Auth(Section):
    """Who may call beside the holders of keys."""

    issuers: tuple[Issuer, ...] = ()
    """Whose tokens are accepted."""

    @model_validator(mode="after")
    def _issuers_differ(self) -> Self:
        names = [entry.issuer for entry in self.issuers]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise ValueError(f"issuers names {twice!r} more than once")
        return self


def _fetchable(url: str) -> bool:
    return url.startswith("https://") or any(
        url == host or url.startswith((f"{host}:", f"{host}/")) for host in _LOOPBACK
    )
