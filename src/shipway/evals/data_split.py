"""Dividing a dataset into cases that tune and cases that judge; `shipway dataset split` calls this."""

import hashlib
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace

from shipway.core.errors import UsageError
from shipway.evals.model import Case, Dataset


def split(dataset: Dataset, share: float, seed: int) -> Dataset:
    """Return the cases with new splits: about this share `test`, whole clusters together.

    Clusters of mostly unanswerable cases are divided among themselves, so that both splits have their share. The order
    in which clusters are drawn depends on seed and name alone: clusters that are added later move few of the others.

    Raises:
        UsageError: the share leaves one split empty.
    """
    if not 0.0 < share < 1.0:
        raise UsageError(f"the share of test cases must lie between 0 and 1, got {share:g}")
    clusters: dict[str, list[Case]] = defaultdict(list)
    for case in dataset.cases:
        clusters[case.cluster_name].append(case)
    strata: dict[bool, list[str]] = defaultdict(list)
    for name, cases in clusters.items():
        strata[2 * sum(case.unanswerable for case in cases) > len(cases)].append(name)
    judged: set[str] = set()
    for names in strata.values():
        judged |= _drawn(names, clusters, share, seed)
    if not judged or len(judged) == len(clusters):
        empty = "test" if not judged else "calibration"
        raise UsageError(
            f"{len(clusters)} clusters cannot be divided so that {share:.0%} judge: split {empty!r} would be empty",
            hint="name another share, or give cases that are independent clusters of their own",
        )
    divided = (replace(case, split="test" if case.cluster_name in judged else "calibration") for case in dataset.cases)
    return Dataset(dataset.name, tuple(divided))


def _drawn(names: Sequence[str], clusters: dict[str, list[Case]], share: float, seed: int) -> set[str]:
    """Return the clusters that judge: each one is taken when that brings the count nearer to the share."""
    wanted = share * sum(len(clusters[name]) for name in names)
    drawn: set[str] = set()
    count = 0
    for name in sorted(names, key=lambda name: (_order(name, seed), name)):
        size = len(clusters[name])
        if abs(count + size - wanted) < abs(count - wanted):
            drawn.add(name)
            count += size
    return drawn


def _order(name: str, seed: int) -> bytes:
    return hashlib.blake2b(name.encode(), digest_size=8, salt=(seed % 2**64).to_bytes(8)).digest()
