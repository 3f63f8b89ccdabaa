"""Distinct id types and the ids made here; every layer imports these."""

import secrets
from collections.abc import Callable
from typing import NewType

ReleaseId = NewType("ReleaseId", str)
RolloutId = NewType("RolloutId", str)
RecordId = NewType("RecordId", str)
RouteName = NewType("RouteName", str)
TenantId = NewType("TenantId", str)
ConversationId = NewType("ConversationId", str)
Digest = NewType("Digest", str)
"""`sha256:` and 64 hexadecimal digits."""

_CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_PAIRS = tuple(high + low for high in _CROCKFORD for low in _CROCKFORD)
_PAIR_BITS = 10
_ULID_RANDOM_BITS = 80


def ulid(now_s: float, random_bits: Callable[[int], int] = secrets.randbits) -> str:
    """Return a 26-character id that sorts by time.

    Source: the ULID specification (48 bits of milliseconds, 80 random bits, Crockford base 32).
    """
    value = (int(now_s * 1000) << _ULID_RANDOM_BITS) | random_bits(_ULID_RANDOM_BITS)
    return "".join([_PAIRS[(value >> shift) & 1023] for shift in range(120, -1, -_PAIR_BITS)])
