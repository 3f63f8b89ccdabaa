"""What gates found: one row a gate, warnings, and the verdict of the whole. `gates` builds it, `report` renders it."""

from dataclasses import dataclass
from typing import Literal

from shipway.core.verdicts import Verdict, combined

GateKind = Literal["threshold", "non_regression", "zero_tolerance", "judge", "cost"]


@dataclass(frozen=True, slots=True)
class Needed:
    """What would decide, if the observed effect is the true one; None: no number does.

    `cases` and `repeats` are whole numbers of them, not how many more. `repeats_unknown`: nobody can say, because each
    case was asked once. `text` is the sentence that reports show.
    """

    cases: int | None
    repeats: int | None
    text: str
    repeats_unknown: bool = False


@dataclass(frozen=True, slots=True)
class GateRow:
    """One gate's finding.

    `verdict` is None when the gate does not apply, as a non-regression gate at a first release. `bound` is the one that
    decided, `limit` what it was compared with. `n` counts cases, `missing` scores out of `expected`. For non-regression
    `value` is the candidate's mean, `difference` candidate minus baseline with positive better and `limit` is -delta.
    `interval` is two-sided at 1 - alpha / looks, around `difference` where there is one, else around `value`. `mde` is
    the change that such a run shows four times in five. `sd` is the standard deviation of the case differences.
    `reason` is the user's own. A row of kind `cost` informs and has no verdict.
    """

    gate: str
    metric: str
    kind: GateKind
    verdict: Verdict | None
    message: str = ""
    value: float | None = None
    baseline_value: float | None = None
    difference: float | None = None
    bound: float | None = None
    limit: float | None = None
    n: int = 0
    n_clusters: int = 0
    n_needed: int | None = None
    expected: int = 0
    missing: int = 0
    p_value: float | None = None
    adjusted_p: float | None = None
    alpha: float = 0.05
    interval: tuple[float, float] | None = None
    mde: float | None = None
    needed: Needed | None = None
    look: int = 1
    looks: int = 1
    reason: str = ""
    sd: float | None = None


@dataclass(frozen=True, slots=True)
class GateReport:
    """All rows in the order of the gates; rows that do not apply have no part in the verdict."""

    rows: tuple[GateRow, ...]
    warnings: tuple[str, ...] = ()

    @property
    def verdict(self) -> Verdict:
        """The verdict of the whole; NO_DATA when no gate applies."""
        return combined(row.verdict for row in self.rows if row.verdict is not None)
