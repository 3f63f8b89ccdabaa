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
_PAIR_SHIFTS_OF_50 = (40, 30, 20, 10, 0)
_PAIR_SHIFTS_OF_40 = (30, 20, 10, 0)


def ulid(now_s: float, random_bits: Callable[[int], int] = secrets.randbits) -> str:
    """Return a 26-character id that sorts by time.

    Source: the ULID specification (48 bits of milliseconds, 80 random bits, Crockford base 32).
    """
    # Three small numbers instead of one of 128 bits: the interpreter shifts them several times faster.
    time_ms, high, low = int(now_s * 1000), random_bits(40), random_bits(40)
    return "".join(
        [
            *[_PAIRS[(time_ms >> shift) & 1023] for shift in _PAIR_SHIFTS_OF_50],
            *[_PAIRS[(high >> shift) & 1023] for shift in _PAIR_SHIFTS_OF_40],
            *[_PAIRS[(low >> shift) & 1023] for shift in _PAIR_SHIFTS_OF_40],
        ]
    )
