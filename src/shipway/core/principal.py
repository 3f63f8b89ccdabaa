"""Who asks: retrieval, answering and serving cannot be called without one."""

from dataclasses import dataclass, field

from shipway.core.ids import TenantId


@dataclass(frozen=True, slots=True)
class Principal:
    """An authenticated caller.

    `groups` are what document access lists name; `roles` are what the API grants (`invoke`, `operate`, `admin`).
    """

    tenant: TenantId
    groups: frozenset[str]
    subject: str
    roles: frozenset[str] = field(default_factory=frozenset)
