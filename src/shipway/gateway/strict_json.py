"""JSON bodies taken strictly: UTF-8, no key twice, no endless nesting, no control characters, no rounded numbers.

Two readers must not see different things in one body: a key that stands twice means one value to the gateway and
perhaps the other to the engine. A whole number of more than 64 bits would reach the engine rounded. All this is looked
for only where cheap checks say that there may be something. `validate` asks here.
"""

import json
import re
from collections.abc import Sequence
from typing import Any

import orjson

from shipway.gateway.replies import RefusedError

DEEPEST = 64
"""Objects and lists inside each other at most; a JSON schema of a tool has about ten."""

_KEY_END = re.compile(rb'"[ \t\r\n]*:')
_ESCAPED_CONTROL = re.compile(rb"\\(?:u00[01]|u007[fF]|b)")
# Tab, line feed, form feed and carriage return are text; escape comes with what a terminal showed.
_CONTROL = re.compile("[\x00-\x08\x0b\x0e-\x1a\x1c-\x1f\x7f]")
_SHOWN_KEY = 60
_SHOWN_DIGITS = 24
_FIRST_ROUNDED = 2.0**63
_WHOLE = range(-(2**63), 2**64)
"""The whole numbers that the reader keeps exactly; others become floats."""


def strict_object(raw: bytes) -> dict[str, Any]:
    """Return the JSON object in a body.

    Raises:
        RefusedError: 400, saying what is wrong and where.
    """
    return strict_body(raw)[0]


def strict_body(raw: bytes) -> tuple[dict[str, Any], bool]:
    """Return the JSON object in a body, and whether it is written as the encoder writes.

    Raises:
        RefusedError: 400, saying what is wrong and where.
    """
    try:
        value = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise _not_json(raw, error) from None
    if not isinstance(value, dict):
        raise RefusedError(400, "the body must be a JSON object")
    canonical = _is_canonical(value, raw)
    if not canonical:
        keys, wide = _surveyed(value)
        # In order of price: every colon ends a key; every quote before a colon does; the body is read once more.
        if keys != raw.count(b":") and keys != len(_KEY_END.findall(raw)):
            _refuse_twins(raw)
        if wide:
            _refuse_rounded(value, raw)
    # JSON lets control characters in only escaped, all but the last one. `in` would try each first as a number.
    if (raw.find(b"\\") >= 0 and _ESCAPED_CONTROL.search(raw)) or raw.find(b"\x7f") >= 0:
        _refuse_control(value, "")
    return value, canonical


def _is_canonical(value: Any, raw: bytes) -> bool:
    """Return whether the body is what the encoder would make of its value: then no key got lost on the way.

    OpenAI's SDKs write like that, so most bodies are done here.
    """
    if not _is_flat(raw):
        return False
    try:
        return orjson.dumps(value) == raw
    except orjson.JSONEncodeError:
        return False


def _is_flat(raw: bytes) -> bool:
    """Return whether there are too few brackets for too many levels."""
    left = DEEPEST
    for bracket in (b"{", b"["):
        # Counting looks at every byte by itself, looking for the next one at many at once.
        at = raw.find(bracket)
        while at >= 0:
            left -= 1
            if left < 0:
                return False
            at = raw.find(bracket, at + 1)
    return True


def _not_json(raw: bytes, error: orjson.JSONDecodeError) -> RefusedError:
    try:
        raw.decode()
    except UnicodeDecodeError as broken:
        return RefusedError(400, f"the body is not valid UTF-8: byte {broken.start} is {raw[broken.start]:#04x}")
    return RefusedError(400, f"the body is not valid JSON: {error}")


def _surveyed(value: dict[str, Any]) -> tuple[int, bool]:
    """Return how many keys all objects have together, and whether a number may have been a whole one of over 64 bits.

    Raises:
        RefusedError: 400, there are too many levels.
    """
    keys, wide = 0, False
    level: list[Any] = [value]
    for _ in range(DEEPEST):
        below: list[Any] = []
        for item in level:
            if item.__class__ is dict:
                keys += len(item)
                below += item.values()
            else:
                below += item
        wide = wide or any(abs(item) >= _FIRST_ROUNDED for item in below if item.__class__ is float)
        level = [item for item in below if item.__class__ is dict or item.__class__ is list]
        if not level:
            return keys, wide
    raise RefusedError(400, f"the body is nested too deeply: {DEEPEST} levels are the limit", code="nested_too_deeply")


def _refuse_twins(raw: bytes) -> None:
    """Refuse a key that stands twice in one object; colons and quotes inside of texts are not mistaken for keys."""
    json.loads(raw, object_pairs_hook=_single)


def _single(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        seen: set[str] = set()
        name = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        message = f"the key {name[:_SHOWN_KEY]!r} stands twice in one object; send it once"
        raise RefusedError(400, message, code="duplicate_key", param=name[:_SHOWN_KEY])
    return value


def _refuse_rounded(value: Any, raw: bytes) -> None:
    """Refuse a whole number that was read as a float; one written with a point or an exponent was meant as one."""
    found: list[str] = []

    def keep(digits: str) -> int:
        # The reader takes no number of more than 309 digits, so reading them is cheap.
        if int(digits) not in _WHOLE:
            found.append(digits)
        return 0

    json.loads(raw, parse_int=keep)
    if found:
        where = _place(value, float(found[0]), "")
        shown = found[0] if len(found[0]) <= _SHOWN_DIGITS else f"{found[0][:_SHOWN_DIGITS]}…"
        message = f"{where or 'a number'} is {shown}, which does not fit into 64 bits; send it as a text"
        raise RefusedError(400, message, code="number_too_large", param=where)


def _place(value: Any, number: float, where: str) -> str | None:
    """Return where a number stands, as `messages[0].seed`."""
    if isinstance(value, dict):
        inside = [(f"{where}.{name}" if where else name, item) for name, item in value.items()]
    elif isinstance(value, list):
        inside = [(f"{where}[{index}]", item) for index, item in enumerate(value)]
    else:
        return where if isinstance(value, float) and value == number else None
    return next((place for name, item in inside if (place := _place(item, number, name)) is not None), None)


def _refuse_control(value: Any, where: str) -> None:
    if isinstance(value, str):
        found = _CONTROL.search(value)
        if found:
            message = f"{where} has the control character U+{ord(found.group()):04X} at {found.start()}; remove it"
            raise RefusedError(400, message, code="control_character", param=where)
    elif isinstance(value, dict):
        for name, item in value.items():
            _refuse_control(name, f"a key of {where or 'the body'}")
            _refuse_control(item, f"{where}.{name}" if where else name)
    elif isinstance(value, list):
        _refuse_control_in_list(value, where)


def _refuse_control_in_list(items: Sequence[Any], where: str) -> None:
    for index, item in enumerate(items):
        _refuse_control(item, f"{where}[{index}]")
