"""Asking a service what its contracts say, one request after another so that none slows another down.

`shipway eval contract` and pipelines call this. Secrets are read from the environment right before they are sent.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import anyio
import anyio.to_thread
import orjson

from shipway import __version__
from shipway.core.errors import DeadlineError, UnavailableError, UsageError
from shipway.core.findings import Finding, FindingReport
from shipway.evals.contracts.check import SUITE, check_reply, no_reply
from shipway.evals.contracts.model import JSON_TYPE, Contract, FromEnvironment, parse_contracts
from shipway.evals.contracts.openapi import OpenApiContracts, OpenApiPlan, read_openapi
from shipway.evals.contracts.source import Source, read_source
from shipway.evals.ports import HttpCall, JsonCaller

_MS_PER_S = 1000.0
# How much longer than a contract allows a reply is waited for, so that slow and not there stay two things.
_PATIENCE = 3.0


@dataclass(frozen=True, slots=True)
class ContractPlan:
    """Where contracts are tried. `key` goes to every request that says nothing of its own about authorization."""

    url: str
    key: FromEnvironment | None = None
    timeout_s: float = 30.0
    limit_bytes: int = 10_000_000


async def load_contracts(path: Path) -> list[Contract]:
    """Return the contracts of a YAML file; `schema_file` is relative to it.

    Raises:
        UsageError: everything that is wrong, each with file and line.
    """
    source = await _source(path)

    def schema(name: str) -> Any:
        return read_source(_read(path.parent / name, name), name).value

    return await anyio.to_thread.run_sync(parse_contracts, source, schema)


async def load_openapi(path: Path, plan: OpenApiPlan) -> OpenApiContracts:
    """Return the contracts of an OpenAPI document.

    Raises:
        UsageError: it is none, or cannot be read.
    """
    source = await _source(path)
    return await anyio.to_thread.run_sync(read_openapi, source, plan)


async def try_contracts(
    caller: JsonCaller,
    contracts: Sequence[Contract],
    plan: ContractPlan,
    environ: Mapping[str, str],
    found: Sequence[Finding] = (),
) -> FindingReport:
    """Send every request and judge every reply; `found` are findings that were there before.

    Raises:
        UsageError: the address is none, or a variable is not set.
    """
    address = base_url(plan.url)
    secrets = _secrets(contracts, plan, environ)
    findings = list(found)
    for contract in contracts:
        timeout_s = max(plan.timeout_s, (contract.max_ms or 0.0) * _PATIENCE / _MS_PER_S)
        body = orjson.dumps(contract.request.body) if contract.request.has_body else b""
        call = HttpCall(
            contract.request.method,
            address + contract.request.path,
            _headers(contract, plan, secrets),
            body,
            timeout_s,
            plan.limit_bytes,
        )
        findings += await _tried(caller, contract, call, list(secrets.values()))
    return FindingReport(SUITE, __version__, tuple(findings))


def base_url(url: str) -> str:
    """Return an address without its last slash.

    Raises:
        UsageError: it is no address of a server.
    """
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.query or parts.fragment:
        raise UsageError(f"{url!r} is no address of a service", hint="write one such as http://127.0.0.1:8000")
    if parts.username is not None or parts.password is not None:
        # The address itself is not repeated: this message ends in CI logs.
        raise UsageError("the address holds a password", hint="send it as a header: --key-env, or {env: NAME}")
    return url.rstrip("/")


async def _tried(caller: JsonCaller, contract: Contract, call: HttpCall, secrets: list[str]) -> list[Finding]:
    try:
        reply = await caller.call(call)
    except DeadlineError:
        return no_reply(contract, f"no whole reply within {call.timeout_s:g} s", secrets)
    except UnavailableError as error:
        return no_reply(contract, f"no reply: {error.message}", secrets)
    return check_reply(contract, reply, secrets)


def _secrets(contracts: Sequence[Contract], plan: ContractPlan, environ: Mapping[str, str]) -> dict[str, str]:
    """Return the value of every variable that is sent."""
    named = [value for contract in contracts for value in contract.request.headers.values()]
    wanted = [value for value in [plan.key, *named] if isinstance(value, FromEnvironment)]
    problems = dict.fromkeys(
        f"{item.place + ': ' if item.place else ''}environment variable {item.env} is not set or empty"
        for item in wanted
        if not environ.get(item.env, "").strip()
    )
    if problems:
        raise UsageError("\n".join(problems), hint="set it; secrets are never written into contracts")
    return {item.env: environ[item.env].strip() for item in wanted}


def _headers(contract: Contract, plan: ContractPlan, secrets: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    request = contract.request
    sent: dict[str, str | FromEnvironment | None] = {
        "accept": "*/*",
        # Bodies are judged as they come; a compressed one would be judged for nothing.
        "accept-encoding": "identity",
        "user-agent": f"shipway/{__version__}",
    }
    if request.has_body:
        sent["content-type"] = JSON_TYPE
    if plan.key is not None:
        sent["authorization"] = FromEnvironment(plan.key.env, plan.key.prefix)
    sent |= request.headers
    return tuple(
        (name, value.prefix + secrets[value.env] if isinstance(value, FromEnvironment) else value)
        for name, value in sent.items()
        if value is not None
    )


async def _source(path: Path) -> Source:
    def read() -> Source:
        return read_source(_read(path, str(path)), str(path))

    return await anyio.to_thread.run_sync(read)


def _read(path: Path, shown: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UsageError(f"{shown}: cannot be read: {error.strerror or error}") from error
