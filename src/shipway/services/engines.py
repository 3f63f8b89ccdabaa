"""Engines that run elsewhere: where they are, whether they answer, and whether they serve the model.

The runtime factory takes addresses from here, `shipway doctor` asks the rest.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from shipway.config.project import Project
from shipway.config.secrets import resolve_secret
from shipway.config.sections.models import ModelEntry
from shipway.core.errors import ShipwayError
from shipway.gateway.engines import EngineAddress, EngineKind, address_of
from shipway.services.local import EMBEDDED_ENGINES

_OK = 200
_REFUSED = frozenset({401, 403})
_LISTED = 5


class EngineProbe(Protocol):
    """What asks an engine."""

    async def status(self, url: str, headers: dict[str, str] | None = None) -> tuple[int, str] | None:
        """Return (HTTP status, beginning of the body), or None when nobody answers."""
        ...


@dataclass(frozen=True, slots=True)
class EngineFault:
    """What is wrong with the engine of an alias, and what to do."""

    alias: str
    what: str
    fix: str


def engine_address(entry: ModelEntry, *, root: Path, environ: Mapping[str, str]) -> tuple[EngineAddress, str | None]:
    """Return where a model's engine is, and its key.

    Raises:
        ConfigError: the key is not there.
        UsageError: `base_url` is no address.
    """
    key = resolve_secret(entry.api_key, root=root, environ=environ) if entry.api_key else None
    kind, url = EngineKind(entry.engine), str(entry.base_url)
    return address_of(kind, url, entry.model, api_key=key, api_version=entry.api_version), key


async def engine_faults(
    project: Project, probe: EngineProbe, *, root: Path, environ: Mapping[str, str]
) -> list[EngineFault]:
    """Ask every engine that runs elsewhere for its health and its models."""
    found = []
    for alias, entry in project.models.items():
        if entry.engine in EMBEDDED_ENGINES:
            continue
        try:
            address, _ = engine_address(entry, root=root, environ=environ)
        except ShipwayError as error:
            found.append(EngineFault(alias, error.message, error.hint))
            continue
        fault = await _fault(alias, entry, address, probe)
        if fault is not None:
            found.append(fault)
    return found


async def _fault(alias: str, entry: ModelEntry, address: EngineAddress, probe: EngineProbe) -> EngineFault | None:
    health = await probe.status(address.health_url, dict(address.probe_headers))
    if health is None:
        return EngineFault(alias, f"nobody answers at {address.health_url}", f"start it, or correct models.{alias}")
    if health[0] in _REFUSED:
        return EngineFault(alias, f"the engine refuses the key ({health[0]})", f"correct models.{alias}.api_key")
    if health[0] != _OK:
        return EngineFault(alias, f"{address.health_url} answers {health[0]}", "look at the engine's own log")
    listed = (
        health
        if address.models_url == address.health_url
        else await probe.status(address.models_url, dict(address.key))
    )
    names = _model_names(listed[1]) if listed is not None and listed[0] == _OK else None
    # Azure lists what the resource could deploy, not what it has deployed, and a list may be cut short.
    if names is None or entry.model in names or address.kind is EngineKind.AZURE:
        return None
    known = ", ".join(sorted(names)[:_LISTED]) or "none"
    return EngineFault(
        alias, f"the engine has no model {entry.model!r}; it lists {known}", f"correct models.{alias}.model"
    )


def _model_names(text: str) -> set[str] | None:
    """Return the names in a model list, None when it is none or not whole."""
    try:
        told: Any = json.loads(text)
        return {str(item["id"]) for item in told["data"]}
    except (ValueError, KeyError, TypeError):
        return None
