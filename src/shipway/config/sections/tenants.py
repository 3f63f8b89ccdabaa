"""`tenants` and `key_limits`: limits of single tenants and keys instead of those for all."""

from typing import Annotated

from pydantic import Field

from shipway.config.sections.routes import PerMinute, Usd
from shipway.config.sections.section import Section


class Tenant(Section):
    """One tenant. What is left out is as in `rates` and `budgets`."""

    per_tenant_min: PerMinute | None = None
    """Requests per minute of all its keys."""
    per_key_min: PerMinute | None = None
    """Requests per minute of each of its keys."""
    tenant_tokens_per_min: PerMinute | None = None
    """Tokens per minute, in and out, of all its keys."""
    tokens_per_min: PerMinute | None = None
    """Tokens per minute, in and out, of each of its keys."""
    concurrent_per_tenant: Annotated[int, Field(ge=1)] | None = None
    """Requests of all its keys at the same time."""
    concurrent_per_key: Annotated[int, Field(ge=1)] | None = None
    """Requests of each of its keys at the same time."""
    daily_usd: Usd | None = None
    """US dollars that it may spend in a UTC day."""
    monthly_usd: Usd | None = None
    """US dollars that it may spend in a UTC month."""
    key_daily_usd: Usd | None = None
    """US dollars that each of its keys may spend in a UTC day."""
    key_monthly_usd: Usd | None = None
    """US dollars that each of its keys may spend in a UTC month."""


class KeyLimits(Section):
    """One key. What is left out is as for its tenant's other keys."""

    tenant: str
    """The tenant the key belongs to, one of `tenants`."""
    per_key_min: PerMinute | None = None
    """Requests per minute."""
    tokens_per_min: PerMinute | None = None
    """Tokens per minute, in and out."""
    concurrent_per_key: Annotated[int, Field(ge=1)] | None = None
    """Requests at the same time."""
    key_daily_usd: Usd | None = None
    """US dollars that it may spend in a UTC day."""
    key_monthly_usd: Usd | None = None
    """US dollars that it may spend in a UTC month."""
