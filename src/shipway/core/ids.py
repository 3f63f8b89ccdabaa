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
_SIGNS = (_CROCKFORD * 8).encode()
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


class UlidSource:
    """Makes ULIDs one after the other, several times as fast as `ulid`; `random_bytes` gives so many bytes."""

    def __init__(self, random_bytes: Callable[[int], bytes]) -> None:
        self._random_bytes = random_bytes
        self._time_ms = -1
        self._begin = ""

    def next(self, now_s: float) -> str:
        """Return an id."""
        time_ms = int(now_s * 1000)
        if time_ms != self._time_ms:
            self._time_ms = time_ms
            self._begin = "".join([_PAIRS[(time_ms >> shift) & 1023] for shift in _PAIR_SHIFTS_OF_50])
        # Five bits of each of 16 random bytes.
        return self._begin + self._random_bytes(16).translate(_SIGNS).decode()
