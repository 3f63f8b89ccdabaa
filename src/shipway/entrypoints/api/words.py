"""The body of a command: nothing, or `{"reason": "..."}`.

Read by hand, whatever the content type: what a framework cannot read it leaves out, and a command without the reason
that somebody gave for it would be carried out and audited.
"""

from typing import Any

import orjson

from shipway.core.errors import UsageError

_LONGEST = 500
_LARGEST_BYTES = 10_000
_HINT = 'the body is {"reason": "why"}, or empty'


def reason_of(body: bytes) -> str:
    """Return the reason that a body gives, "" when there is no body.

    Raises:
        UsageError: it is anything else.
    """
    if not body.strip():
        return ""
    if len(body) > _LARGEST_BYTES:
        raise UsageError(f"the body has {len(body)} bytes; {_LARGEST_BYTES} at most", hint=_HINT)
    try:
        value: Any = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise UsageError(f"the body is no JSON: {error}", hint=_HINT) from error
    if not isinstance(value, dict) or not value.keys() <= {"reason"}:
        found = ", ".join(map(repr, value)) if isinstance(value, dict) else type(value).__name__
        raise UsageError(f"the body is not an object with `reason` alone, but {found}", hint=_HINT)
    reason = value.get("reason", "")
    if not isinstance(reason, str):
        raise UsageError(f"reason: must be text, not {orjson.dumps(reason).decode()[:_LONGEST]}", hint=_HINT)
    if len(reason) > _LONGEST:
        raise UsageError(f"reason: {len(reason)} characters; {_LONGEST} at most", hint=_HINT)
    return reason
