"""What an attribution found, as values; `attribution` makes them, `attribution_text` says them, commands print them."""

from dataclasses import dataclass
from typing import Literal

from shipway.core.verdicts import Verdict

Kind = Literal["culprit", "only part", "partial", "several", "interaction", "either", "undecided", "no drop"]
"""What explains the drop.

`culprit`: one part, shown both ways. `only part`: nothing else changed. `partial`: one part shown both ways that makes
less than half of it. `several`: more than one part shown both ways. `interaction`: none lowers alone, together they do.
`either`: each lowers alone, and taking back one is not enough. `undecided`: not enough was shown. `no drop`: this run
shows none.
"""


@dataclass(frozen=True, slots=True)
class Swap:
    """What one swap did; differences are positive where the candidate's part is better.

    `verdict` FAIL: the part lowers the score. PASS: it does not make half of the drop. ERROR: could not be measured,
    and `message` says why. `interval` is two-sided at 1 - alpha; `adjusted_p` is Holm's over all swaps of all metrics.
    """

    verdict: Verdict
    message: str = ""
    difference: float | None = None
    interval: tuple[float, float] | None = None
    standard_error: float | None = None
    p_value: float | None = None
    adjusted_p: float | None = None
    n: int = 0
    n_clusters: int = 0


@dataclass(frozen=True, slots=True)
class PartEffect:
    """One changed part.

    `alone` is the baseline with the candidate's part against the baseline, `removed` the candidate against itself with
    the baseline's part. `changed` names what differs in it.
    """

    part: str
    changed: tuple[str, ...]
    alone: Swap
    removed: Swap

    @property
    def is_shown(self) -> bool:
        """Whether both swaps show that the part lowers the score."""
        return self.alone.verdict is Verdict.FAIL and self.removed.verdict is Verdict.FAIL

    @property
    def difference(self) -> float | None:
        """Return the mean of what both swaps found; None unless both were measured."""
        if self.alone.difference is None or self.removed.difference is None:
            return None
        return (self.alone.difference + self.removed.difference) / 2


@dataclass(frozen=True, slots=True)
class Attribution:
    """What lowered one metric.

    `whole` is candidate against baseline. `explained_by` are the parts that `kind` speaks of; `culprit` is the one part
    that is shown to make at least half of the drop, or that alone changed.
    """

    gate: str
    metric: str
    tags: tuple[str, ...]
    bounded: bool
    alpha: float
    n_tests: int
    whole: Swap
    parts: tuple[PartEffect, ...]
    kind: Kind
    explained_by: tuple[str, ...] = ()

    @property
    def culprit(self) -> str | None:
        """Return the part that did it."""
        return self.explained_by[0] if self.kind in {"culprit", "only part"} else None

    @property
    def verdict(self) -> Verdict:
        """Return whether the question is answered: PASS, INCONCLUSIVE, or ERROR when a swap could not be measured."""
        if self.whole.verdict is Verdict.ERROR:
            return Verdict.ERROR
        if self.kind not in {"undecided", "no drop"}:
            return Verdict.PASS
        swaps = [swap for part in self.parts for swap in (part.alone, part.removed)]
        return Verdict.ERROR if any(swap.verdict is Verdict.ERROR for swap in swaps) else Verdict.INCONCLUSIVE
