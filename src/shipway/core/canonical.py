"""Canonical JSON and content digests; a release id is made of nothing else.

The form is RFC 8785 restricted to what a manifest may hold: objects with string keys, arrays, strings, booleans, null,
integers and finite floats. Keys are sorted by code point, text is UTF-8 in NFC, and nothing depends on locale or hash
seed.
"""

import hashlib
import json
import math
import unicodedata
from typing import Any

from shipway.core.ids import Digest


def canonical_json(value: Any) -> bytes:
    """Return the one byte string that stands for `value`.

    Raises:
        TypeError: a value that JSON cannot hold exactly (NaN, infinity, a non-string key, half a surrogate pair, two
            keys that are one in NFC, another type).
    """
    return json.dumps(
        _normalised(value, "$"), ensure_ascii=False, sort_keys=True, separators=(",", ":"), allow_nan=False
    ).encode()


def digest_bytes(data: bytes) -> Digest:
    """Return the digest of bytes."""
    return Digest("sha256:" + hashlib.sha256(data).hexdigest())


def digest_json(value: Any) -> Digest:
    """Return the digest of a value's canonical form."""
    return digest_bytes(canonical_json(value))


def _normalised(value: Any, path: str) -> Any:
    match value:
        case None | bool() | int():
            return value
        case str():
            return _text(value, path)
        case float():
            return _finite(value, path)
        case dict():
            return _object(value, path)
        case list() | tuple():
            return [_normalised(item, f"{path}[{index}]") for index, item in enumerate(value)]
        case _:
            raise TypeError(f"{path}: {type(value).__name__} has no canonical form; use JSON values")


def _finite(value: float, path: str) -> float | int:
    if not math.isfinite(value):
        raise TypeError(f"{path}: {value!r} has no canonical form; use a finite number")
    # 1.0 and 1 are the same number to a reader of YAML, so they must not be two releases.
    return int(value) if value.is_integer() and abs(value) < 2**53 else value


def _object(value: dict[Any, Any], path: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, item in value.items():
        if not isinstance(key, str):
            raise TypeError(f"{path}: key {key!r} is not a string")
        name = _text(key, path)
        if name in found:
            raise TypeError(f"{path}: two keys are {name!r} once their Unicode form is made equal")
        found[name] = _normalised(item, f"{path}.{key}")
    return found


def _text(value: str, path: str) -> str:
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise TypeError(f"{path}: {value!r} is not valid Unicode") from error
    return unicodedata.normalize("NFC", value)
