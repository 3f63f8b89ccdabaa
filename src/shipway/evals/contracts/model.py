"""A contract: one request and the replies that keep it. Read here from YAML, in `openapi` from an OpenAPI document.

`services.api_contracts` sends the requests, `check` judges the replies.
"""

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any, Literal

from shipway.config.credentials import credentials_in, names_a_secret
from shipway.core.errors import UsageError
from shipway.evals.contracts.source import Path, Problems, Source
from shipway.evals.suggestions import did_you_mean

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
JSON_TYPE = "application/json"

_SCHEMAS = "shipway.evals.json_schemas"
_CONTRACT_KEYS = frozenset({"name", "request", "expect"})
_REQUEST_KEYS = frozenset({"method", "path", "headers", "json"})
_EXPECT_KEYS = frozenset({"status", "schema", "schema_file", "headers", "max_ms", "contains"})
_HEADER_KEYS = frozenset({"env", "prefix", "text"})
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_ENV_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
# What the client writes itself; another value would make two meanings of one request.
_OWN_HEADERS = frozenset({"host", "content-length", "transfer-encoding", "connection"})
_SECRET_HEADERS = frozenset({"authorization", "proxy-authorization", "cookie", "x-api-key", "api-key"})
_LOWEST_STATUS, _SERVER_ERROR, _HIGHEST_STATUS = 100, 500, 599
_IN_CLEAR = "a secret may stand here in clear text; write {env: NAME}, with prefix where one is needed, and rotate it"

SchemaReader = Callable[[str], Any]
"""What the file of `schema_file` says; raises UsageError."""


@dataclass(frozen=True, slots=True)
class FromEnvironment:
    """The value of a header that stands in an environment variable."""

    env: str
    prefix: str = ""
    place: str = ""


@dataclass(frozen=True, slots=True)
class ApiRequest:
    """What is sent. A header that is None is not sent, even where every request gets one."""

    method: str
    path: str
    headers: Mapping[str, str | FromEnvironment | None] = field(default_factory=dict, hash=False)
    body: Any = field(default=None, hash=False)
    has_body: bool = False


@dataclass(frozen=True, slots=True)
class ApiReply:
    """What a reply of a status must look like; `status` is `200`, `2XX` or `default`.

    `content_types` empty says nothing about it. A header that is None must be there with any value. `schema` counts
    where `has_schema` is set.
    """

    status: str
    content_types: tuple[str, ...] = ()
    headers: Mapping[str, str | None] = field(default_factory=dict, hash=False)
    schema: Any = field(default=None, hash=False)
    has_schema: bool = False

    def takes(self, status: int) -> bool:
        """Tell whether a reply with this status is meant."""
        if self.status == "default":
            # A server that broke down keeps no contract that does not say so.
            return status < _SERVER_ERROR
        return self.status == str(status) or (self.status[1:] == "XX" and self.status[0] == str(status)[0])


@dataclass(frozen=True, slots=True)
class Contract:
    """A request, the replies that are right, of which the narrowest status counts, and how long one may take."""

    name: str
    request: ApiRequest
    replies: tuple[ApiReply, ...]
    contains: tuple[str, ...] = ()
    max_ms: float | None = None
    location: str = ""

    def reply_for(self, status: int) -> ApiReply | None:
        """Return what a reply of this status must look like, None when none may have it."""
        fitting = [reply for reply in self.replies if reply.takes(status)]
        return min(fitting, key=_width, default=None)

    @property
    def statuses(self) -> str:
        """Return the statuses that are right, for people."""
        return " or ".join(reply.status for reply in self.replies)


def parse_contracts(source: Source, schemas: SchemaReader) -> list[Contract]:
    """Return the contracts of a YAML list.

    Raises:
        UsageError: everything that is wrong, each with file and line.
    """
    problems = Problems(source)
    for path in credentials_in(source.value):
        problems.add(path, "a credential stands here in clear text; write {env: NAME} and rotate it")
    items = source.value
    if not isinstance(items, list) or not items:
        problems.add((), "expected a list of contracts: `- name: …`, with request and expect below")
        items = []
    contracts = [_contract(source, (index,), item, schemas, problems) for index, item in enumerate(items)]
    seen: dict[str, str] = {}
    for index, contract in enumerate(contracts):
        if contract is None:
            continue
        if contract.name in seen:
            problems.add((index, "name"), f"{contract.name!r} is already the name of {seen[contract.name]}")
        seen.setdefault(contract.name, contract.location)
    problems.refuse()
    return [contract for contract in contracts if contract is not None]


def compiled(schema: Any) -> Any:
    """Return the validator of a schema.

    Raises:
        UsageError: it is none, or refers to another document.
    """
    # With the first schema: commands that judge none start without the library.
    return import_module(_SCHEMAS).compile_schema(schema)


def _contract(source: Source, path: Path, item: Any, schemas: SchemaReader, problems: Problems) -> Contract | None:
    if not _is_mapping(item, path, _CONTRACT_KEYS, problems):
        return None
    name = item.get("name")
    if not isinstance(name, str) or not name.strip():
        problems.add((*path, "name"), f"a text is needed, got {name!r}")
        return None
    request = _request((*path, "request"), item.get("request"), source, problems)
    expect = item.get("expect", {})
    here: Path = (*path, "expect")
    if not _is_mapping(expect, here, _EXPECT_KEYS, problems):
        return None
    has_schema, schema = _schema(here, expect, schemas, problems)
    if has_schema and request is not None and request.method == "HEAD":
        problems.add(here, "a reply to HEAD has no body, so no schema can hold for it")
    headers = _expected_headers((*here, "headers"), expect.get("headers", {}), problems)
    declared = headers.pop("content-type", None)
    types = (declared,) if declared else (JSON_TYPE,) if has_schema else ()
    replies = tuple(
        ApiReply(str(status), types, headers, schema, has_schema)
        for status in _statuses((*here, "status"), expect.get("status", 200), problems)
    )
    contains = _texts((*here, "contains"), expect.get("contains", []), problems)
    limit = _limit((*here, "max_ms"), expect.get("max_ms"), problems)
    if request is None:
        return None
    return Contract(name.strip(), request, replies, contains, limit, source.place(path))


def _request(path: Path, item: Any, source: Source, problems: Problems) -> ApiRequest | None:
    if not _is_mapping(item, path, _REQUEST_KEYS, problems):
        return None
    has_body = "json" in item
    method = str(item.get("method", "POST" if has_body else "GET")).upper()
    if method not in METHODS:
        problems.add((*path, "method"), f"{method!r} is not sent; known: {', '.join(METHODS)}")
    if has_body and method in {"GET", "HEAD"}:
        problems.add((*path, "json"), f"{method} carries no body; write method: POST")
    where = item.get("path")
    if not isinstance(where, str) or not where.startswith("/") or where.startswith("//"):
        problems.add((*path, "path"), f"begins with one /, such as /v1/models; got {where!r} (the address is --url)")
        return None
    if not where.isascii() or any(sign <= " " or sign in "#\x7f" for sign in where):
        problems.add((*path, "path"), f"{where!r} has a character that no request line may hold; write it as %XX")
    headers = _sent_headers((*path, "headers"), item.get("headers", {}), source, problems)
    return ApiRequest(method, where, headers, item.get("json"), has_body)


def _sent_headers(path: Path, item: Any, source: Source, problems: Problems) -> dict[str, str | FromEnvironment | None]:
    found: dict[str, str | FromEnvironment | None] = {}
    for name, value in _header_items(path, item, problems):
        here: Path = (*path, name)
        if name.lower() in _OWN_HEADERS:
            problems.add(here, "is written by the client; leave it out")
        elif value is None:
            found[name.lower()] = None
        elif isinstance(value, dict):
            found[name.lower()] = _reference(here, value, source, problems)
        elif isinstance(value, bool | list):
            problems.add(here, f"a text or {{env: NAME}}, got {value!r}")
        elif is_secret_header(name):
            problems.add(here, f"{_IN_CLEAR}; {{text: …}} says that it is none")
        else:
            found[name.lower()] = _header_text(here, str(value), problems)
    return found


def is_secret_header(name: str) -> bool:
    """Tell whether a header usually carries a secret."""
    return name.lower() in _SECRET_HEADERS or names_a_secret((name.replace("-", "_"),))


def _reference(path: Path, value: dict[str, Any], source: Source, problems: Problems) -> str | FromEnvironment | None:
    if not _is_mapping(value, path, _HEADER_KEYS, problems):
        return None
    if set(value) == {"text"}:
        return _header_text(path, str(value["text"]), problems)
    env = value.get("env")
    if not isinstance(env, str) or not _ENV_NAME.fullmatch(env) or "text" in value:
        problems.add(path, "write {env: NAME}, {env: NAME, prefix: 'Bearer '} or {text: …}")
        return None
    return FromEnvironment(env, _header_text(path, str(value.get("prefix", "")), problems), source.place(path))


def _header_text(path: Path, text: str, problems: Problems) -> str:
    if not text.isprintable() or not text.isascii():
        problems.add(path, f"{text!r} has a character that no header may hold")
    return text


def _expected_headers(path: Path, item: Any, problems: Problems) -> dict[str, str | None]:
    found: dict[str, str | None] = {}
    for name, value in _header_items(path, item, problems):
        if isinstance(value, dict | list | bool):
            problems.add((*path, name), f"a text, or nothing for any value; got {value!r}")
        else:
            found[name.lower()] = None if value is None else str(value)
    return found


def _header_items(path: Path, item: Any, problems: Problems) -> list[tuple[str, Any]]:
    if not isinstance(item, dict):
        problems.add(path, f"a mapping from name to value, got {_kind(item)}")
        return []
    for name in item:
        if not _HEADER_NAME.fullmatch(name):
            problems.add((*path, name), "is no name of a header")
    return [(name, value) for name, value in item.items() if _HEADER_NAME.fullmatch(name)]


def _schema(path: Path, expect: dict[str, Any], schemas: SchemaReader, problems: Problems) -> tuple[bool, Any]:
    if "schema" in expect and "schema_file" in expect:
        problems.add((*path, "schema_file"), "schema and schema_file are given; keep one")
        return False, None
    key = "schema_file" if "schema_file" in expect else "schema"
    if key not in expect:
        return False, None
    given = expect[key]
    try:
        given = _read_schema(given, schemas) if key == "schema_file" else given
        compiled(given)
    except UsageError as error:
        problems.add((*path, key), error.message)
        return False, None
    return True, given


def _read_schema(file: Any, schemas: SchemaReader) -> Any:
    if not isinstance(file, str) or not file:
        raise UsageError(f"the path of a file is needed, got {file!r}")
    return schemas(file)


def _statuses(path: Path, value: Any, problems: Problems) -> list[int]:
    given = value if isinstance(value, list) else [value]
    if not given:
        problems.add(path, "at least one status is needed")
    for status in given:
        if not _is_number(status) or status != int(status) or not _LOWEST_STATUS <= status <= _HIGHEST_STATUS:
            problems.add(
                path, f"a status from {_LOWEST_STATUS} to {_HIGHEST_STATUS}, or a list of them; got {status!r}"
            )
            return []
    return [int(status) for status in given]


def _texts(path: Path, value: Any, problems: Problems) -> tuple[str, ...]:
    given = value if isinstance(value, list) else [value]
    for text in given:
        if not isinstance(text, str) or not text:
            problems.add(path, f"a text or a list of texts, got {text!r}")
            return ()
    return tuple(given)


def _limit(path: Path, value: Any, problems: Problems) -> float | None:
    if value is None:
        return None
    if not _is_number(value) or value <= 0:
        problems.add(path, f"milliseconds above 0, got {value!r}")
        return None
    return float(value)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _is_mapping(item: Any, path: Path, known: frozenset[str], problems: Problems) -> bool:
    if not isinstance(item, dict):
        problems.add(path, f"expected a mapping with {', '.join(sorted(known))}; got {_kind(item)}")
        return False
    for key in item:
        if key not in known:
            problems.add((*path, key), f"unknown key; {did_you_mean(key, known)}")
    return True


def _kind(item: Any) -> Literal["nothing", "a list", "a mapping", "one value"]:
    if item is None:
        return "nothing"
    return "a list" if isinstance(item, list) else "a mapping" if isinstance(item, dict) else "one value"


def _width(reply: ApiReply) -> int:
    return {"default": 2}.get(reply.status, 1 if reply.status.endswith("XX") else 0)
