"""Whom a load test may ask: loopback, and beyond it only hosts that were named for it."""

import ipaddress
from collections.abc import Collection, Mapping
from pathlib import Path
from urllib.parse import urlsplit

from shipway.config.secrets import resolve_secret
from shipway.config.sections.secrets import SecretRef
from shipway.core.errors import ForbiddenError, UsageError
from shipway.services.performance import chat_url

_CHAT = "/chat/completions"


def require_allowed(url: str, allowed: Collection[str]) -> None:
    """Refuse a host that is not loopback and was not named.

    Raises:
        ForbiddenError: load on somebody else's machine is an attack; says how to name it.
        UsageError: the address has no host.
    """
    host = (urlsplit(url).hostname or "").lower()
    if not host:
        raise UsageError(f"{url!r} has no host", hint="write an address such as http://127.0.0.1:8000")
    if is_loopback(host) or host in {name.lower() for name in allowed}:
        return
    raise ForbiddenError(
        f"{host} is not this machine, and load on a machine that is not yours is an attack",
        hint=f"where you may load it, name it: --allow-host {host}",
    )


def is_loopback(host: str) -> bool:
    """Tell whether a host is this machine for certain: a loopback address or localhost; no name is looked up."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def server_of(address: str) -> str:
    """Return scheme, host and port of an address, which may end at the host, at `/v1` or be that of the chat.

    Raises:
        UsageError: it is no address, or has a path that requests of a plan cannot be put behind.
    """
    base = chat_url(address).removesuffix(_CHAT)
    return base.removesuffix("/v1")


def secret_named(text: str) -> SecretRef:
    """Return the reference that `env:NAME` or `file:PATH` is.

    Raises:
        UsageError: it is neither; the text is not repeated, because it may be the key itself.
    """
    kind, _, rest = text.partition(":")
    if kind == "env" and rest:
        return SecretRef(env=rest)
    if kind == "file" and rest:
        return SecretRef(file=Path(rest))
    raise UsageError("--key names where the key is and never holds it", hint="write env:NAME or file:PATH")


def key_of(reference: SecretRef | None, root: Path, environ: Mapping[str, str]) -> str:
    """Return the key, empty without a reference.

    Raises:
        ConfigError: it is not set, not readable or empty.
    """
    return "" if reference is None else resolve_secret(reference, root=root, environ=environ).strip()
