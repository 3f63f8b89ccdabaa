"""Judging replies by their contracts: one finding for each thing that a contract says.

`services.api_contracts` calls this with what came back, or with why nothing did.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import orjson

from shipway.config.credentials import repeatable
from shipway.core.findings import Finding
from shipway.core.verdicts import Verdict
from shipway.evals.contracts.model import ApiReply, Contract, compiled
from shipway.evals.ports import HttpReply

SUITE = "contract"
BUSY = frozenset({429, 502, 503, 504})
"""What says that nobody could answer now, unless the contract expects it: an ERROR, not a FAIL."""
_REDIRECTS = range(300, 400)
_SHOWN_CHARS = 200
_LOOKED_AT_BYTES = 16_384
"""Looked through for secrets, much more than is shown."""
_MOST_ERRORS = 5
_HIDDEN = "***"


@dataclass(frozen=True, slots=True)
class Checked:
    """What a check says; `pointer` is the JSON Pointer of the worst place in the reply."""

    verdict: Verdict
    message: str = ""
    pointer: str = ""


@dataclass(frozen=True, slots=True)
class _Given:
    """A reply, and what must not be shown of it."""

    reply: HttpReply
    secrets: Collection[str]

    @property
    def said(self) -> str:
        """Return the beginning of the body, for people who look for the cause."""
        body = self.reply.body[:_LOOKED_AT_BYTES].decode("utf-8", "replace")
        text = shown(body, self.secrets)
        return f": {text}" if text else ""


_RIGHT = Checked(Verdict.PASS)
_NOT_JUDGED = Checked(Verdict.NO_DATA)


def check_reply(contract: Contract, reply: HttpReply, secrets: Collection[str] = ()) -> list[Finding]:
    """Return the findings of one reply; `secrets` are never shown, even where the service repeats them."""
    expected = contract.reply_for(reply.status)
    if expected is None and reply.status in BUSY:
        reason = f"status {reply.status}: nobody could answer{_Given(reply, secrets).said}"
        return no_reply(contract, reason, secrets, reply.total_ms)
    given = _Given(reply, secrets)
    checks = {"status": _status(contract, expected, given)}
    for kind in _kinds(contract):
        if kind == "time":
            checks[kind] = _time(contract, reply)
        elif kind != "status":
            checks[kind] = _NOT_JUDGED if expected is None else _CHECKS[kind](contract, expected, given)
    return [_finding(contract, kind, checked, secrets, reply.total_ms) for kind, checked in checks.items()]


def no_reply(
    contract: Contract, reason: str, secrets: Collection[str] = (), duration_ms: float | None = None
) -> list[Finding]:
    """Return the findings of a request that nobody answered: an ERROR for everything that the contract says."""
    found = [_finding(contract, "status", Checked(Verdict.ERROR, reason), secrets, duration_ms)]
    # Said once; gates see that nothing of it could be judged.
    others = [kind for kind in _kinds(contract) if kind != "status"]
    return found + [_finding(contract, kind, Checked(Verdict.ERROR), secrets, duration_ms) for kind in others]


def _kinds(contract: Contract) -> list[str]:
    replies = contract.replies
    stated = {
        "status": True,
        "content_type": any(reply.content_types for reply in replies),
        "headers": any(reply.headers for reply in replies),
        "schema": any(reply.has_schema for reply in replies),
        "contains": bool(contract.contains),
        "time": contract.max_ms is not None,
    }
    return [kind for kind, is_stated in stated.items() if is_stated]


def _status(contract: Contract, expected: ApiReply | None, given: _Given) -> Checked:
    if expected is not None:
        return _RIGHT
    hint, reply = "", given.reply
    if reply.status in _REDIRECTS:
        hint = f"; redirects are not followed (to {shown(reply.headers.get('location', 'nowhere'))!r})"
    return Checked(Verdict.FAIL, f"status {reply.status}, expected {contract.statuses}{hint}{given.said}")


def _content_type(_contract: Contract, expected: ApiReply, given: _Given) -> Checked:
    if not expected.content_types:
        return _RIGHT
    found = given.reply.headers.get("content-type", "")
    if any(_is_type(found, wanted) for wanted in expected.content_types):
        return _RIGHT
    wanted = " or ".join(expected.content_types)
    return Checked(Verdict.FAIL, f"content-type {shown(found, given.secrets)!r}, expected {wanted}")


def _headers(_contract: Contract, expected: ApiReply, given: _Given) -> Checked:
    wrong = []
    for name, wanted in expected.headers.items():
        found = given.reply.headers.get(name)
        if found is None:
            wrong.append(f"no header {name}")
        elif wanted is not None and found.strip() != wanted:
            wrong.append(f"{name}: {shown(found, given.secrets)!r}, expected {wanted!r}")
    return Checked(Verdict.FAIL, "; ".join(wrong)) if wrong else _RIGHT


def _schema(_contract: Contract, expected: ApiReply, given: _Given) -> Checked:
    if not expected.has_schema:
        return _RIGHT
    reply = given.reply
    encoding = reply.headers.get("content-encoding", "identity")
    if encoding.lower() not in {"", "identity"}:
        return Checked(Verdict.ERROR, f"the body is encoded with {encoding}, which nobody asked for")
    try:
        value = orjson.loads(reply.body)
    except orjson.JSONDecodeError as error:
        return Checked(Verdict.FAIL, f"the body is not JSON ({error.msg}){given.said}")
    errors = list(compiled(expected.schema).iter_errors(value))
    if not errors:
        return _RIGHT
    pointers = [pointer(error.instance_path) for error in errors]
    lines = [
        f"{where or '/'}: {shown(error.message, given.secrets)}" for where, error in zip(pointers, errors, strict=True)
    ]
    more = f" (and {len(lines) - _MOST_ERRORS} more)" if len(lines) > _MOST_ERRORS else ""
    return Checked(Verdict.FAIL, "; ".join(lines[:_MOST_ERRORS]) + more, pointers[0])


def _contains(contract: Contract, _expected: ApiReply, given: _Given) -> Checked:
    text = given.reply.body.decode("utf-8", "replace")
    missing = [repr(wanted) for wanted in contract.contains if wanted not in text]
    return Checked(Verdict.FAIL, f"the body lacks {', '.join(missing)}{given.said}") if missing else _RIGHT


def _time(contract: Contract, reply: HttpReply) -> Checked:
    limit = contract.max_ms
    if limit is None or reply.total_ms <= limit:
        return _RIGHT
    return Checked(Verdict.FAIL, f"slow: {reply.total_ms:.0f} ms, at most {limit:g} ms are allowed")


_CHECKS: Mapping[str, Callable[[Contract, ApiReply, _Given], Checked]] = {
    "content_type": _content_type,
    "headers": _headers,
    "schema": _schema,
    "contains": _contains,
}


def pointer(path: Collection[Any]) -> str:
    """Return the JSON Pointer of a path; that of the whole document is empty. Source: RFC 6901."""
    return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in path)


def _is_type(given: str, wanted: str) -> bool:
    if ";" in wanted:
        return given.replace(" ", "").lower() == wanted.replace(" ", "").lower()
    media, expected = given.partition(";")[0].strip().lower(), wanted.lower()
    if expected in {"*/*", media}:
        return bool(media)
    if expected.endswith("/*"):
        return media.startswith(expected[:-1])
    # application/problem+json is JSON too.
    return expected == "application/json" and media.startswith("application/") and media.endswith("+json")


def _finding(
    contract: Contract, kind: str, checked: Checked, secrets: Collection[str], duration_ms: float | None
) -> Finding:
    return Finding(
        SUITE,
        contract.name,
        checked.verdict,
        metric=kind,
        message=without(checked.message, secrets),
        location=contract.location,
        case_id=contract.name,
        duration_ms=duration_ms,
        rule=f"{SUITE}/{kind.replace('_', '-')}",
        details={"pointer": checked.pointer} if checked.pointer else {},
    )


def shown(text: str, secrets: Collection[str] = ()) -> str:
    """Return the beginning of a text on one line, without secrets, control characters and what looks like a key.

    A credential that begins within what is shown is found whole, as somebody's words are cut off only afterwards.
    """
    line = " ".join(without(text[:_LOOKED_AT_BYTES], secrets).split())
    return repeatable("".join(sign if sign.isprintable() else "\ufffd" for sign in line))[:_SHOWN_CHARS]


def without(text: str, secrets: Collection[str]) -> str:
    """Return a text in which no secret can be read."""
    for secret in sorted(secrets, key=len, reverse=True):
        for form in (secret, quote(secret, safe="")):
            text = text.replace(form, _HIDDEN) if form else text
    return text
