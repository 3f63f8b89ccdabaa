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
_ULID_RANDOM_BITS = 80


def ulid(now_s: float, random_bits: Callable[[int], int] = secrets.randbits) -> str:
    """Return a 26-character id that sorts by time.

    Source: the ULID specification (48 bits of milliseconds, 80 random bits, Crockford base 32).
    """
    value = (int(now_s * 1000) << _ULID_RANDOM_BITS) | random_bits(_ULID_RANDOM_BITS)
    return "".join(_CROCKFORD[(value >> shift) & 31] for shift in range(125, -1, -5))
