"""Dividing a dataset among machines of a CI matrix; `eval run --shard i/n` and `eval merge` call this."""

import re
from dataclasses import dataclass
from hashlib import blake2b

from shipway.core.errors import UsageError
from shipway.evals.model import Case

_MOST = 1_000
_FORM = re.compile(r"([1-9]\d{0,3})/([1-9]\d{0,3})", re.ASCII)


@dataclass(frozen=True, slots=True)
class Shard:
    """One of several parts, counted from 1."""

    number: int
    of: int

    def __str__(self) -> str:
        return f"{self.number}/{self.of}"

    def holds(self, case: Case) -> bool:
        """Tell whether a case belongs to this part."""
        return shard_of(case, self.of) == self.number


def parse_shard(text: str) -> Shard:
    """Read `2/8`.

    Raises:
        UsageError: it is not that, or the part does not exist.
    """
    found = _FORM.fullmatch(text.strip())
    if found is None or int(found[1]) > int(found[2]) or int(found[2]) > _MOST:
        raise UsageError(
            f"--shard {text!r} is no part of a whole", hint="write I/N, such as 2/8 for the second of 8 parts"
        )
    return Shard(int(found[1]), int(found[2]))


def shard_of(case: Case, parts: int) -> int:
    """Return the part of a case, from 1; cases of one cluster are always together, whatever else the dataset holds."""
    digest = blake2b(case.cluster_name.encode("utf-8", "replace"), digest_size=8).digest()
    return 1 + int.from_bytes(digest, "big") % parts


def missing_shards(found: list[Shard]) -> str:
    """Return what is wrong with a set of parts, in words; "" when they are the whole, each once."""
    if not found:
        return "no shards"
    whole = found[0].of
    if any(shard.of != whole for shard in found):
        return f"shards of different wholes: {', '.join(map(str, found))}"
    numbers = [shard.number for shard in found]
    twice = sorted({number for number in numbers if numbers.count(number) > 1})
    if twice:
        return f"shard {twice[0]}/{whole} is there twice"
    gone = sorted(set(range(1, whole + 1)) - set(numbers))
    return f"shard {', '.join(f'{number}/{whole}' for number in gone)} is missing" if gone else ""
