"""Whether a judge can be believed: its agreement with people, and whether it still judges as it did then.

`shipway judge calibrate` and `judge anchors` call this, and the evaluation service before every run with a judge.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from shipway.core.canonical import digest_json
from shipway.core.errors import UsageError
from shipway.core.ids import Digest
from shipway.core.verdicts import Verdict
from shipway.evals.judgement import CLAIM_TASKS, PASSES_FROM, JudgeIdentity, Judgement, Task
from shipway.evals.labels import Anchor, Label
from shipway.stats.agreement import (
    Confusion,
    CorrectedRate,
    cohen_kappa,
    confusion,
    corrected_rate,
    kappa_interval,
    mcnemar_exact,
)
from shipway.stats.proportions import wilson_interval

Interval = tuple[float, float]
_CONFIDENCE = 0.95
_DRIFT_P = 0.01
_MAX_FAILED = 0.02
# Scores are sums of thirds and sevenths.
_ALL = 1.0 - 1e-9


@dataclass(frozen=True, slots=True)
class Calibration:
    """A judge's agreement with people on one task.

    `n` counts pairs of labels; `undecided` are labels of people for which the judge could not tell, `failed` those for
    which it gave no judgement: neither is in the other figures. `q0` and `q1` are the shares of people's 0 and 1 that
    the judge finds. Intervals are two-sided 95 %. None: the labels cannot say.
    """

    task: Task
    n: int
    undecided: int
    failed: int
    confusion: Confusion
    kappa: float | None
    kappa_interval: Interval | None
    q0: float | None
    q0_interval: Interval | None
    q1: float | None
    q1_interval: Interval | None
    reasons: tuple[str, ...] = ()

    def corrected(self, rate: float, n: int) -> CorrectedRate:
        """Return the true rate behind a judged one over `n` answers.

        Raises:
            UsageError: the judge is no better than chance, or there are no labels of one kind.
        """
        try:
            return corrected_rate(rate, self.confusion, n)
        except ValueError as error:
            raise UsageError(
                f"{self.task}: a judged rate cannot be corrected: {error}",
                hint="label more answers, or use another judge",
            ) from error

    @property
    def lacking(self) -> str:
        """Why the labels cannot tell how far the judge agrees; "" when they can."""
        if self.kappa is not None:
            return ""
        if not self.n:
            return f"{self.task}: no label has a judgement beside it"
        kind = "right" if self.confusion.positives else "wrong"
        return (
            f"{self.task}: people and judge call all {self.n} answers {kind}, so that agreement cannot be told from"
            " chance; label answers of the other kind as well"
        )

    def verdict(self, min_kappa: float) -> Verdict:
        """Tell whether the judge agrees with people well enough; ERROR when it fails on more than 2 % of the labels."""
        if self.failed > _MAX_FAILED * (self.n + self.undecided + self.failed):
            return Verdict.ERROR
        if self.kappa is None:
            return Verdict.NO_DATA
        return Verdict.PASS if self.kappa >= min_kappa else Verdict.FAIL


@dataclass(frozen=True, slots=True)
class AnchorCheck:
    """What a judge says of its anchors today.

    `changed` counts anchors with another label than at the calibration, those that it cannot judge any more included;
    `p_value` is McNemar's, of a shift in one direction. Anything but PASS blocks every gate on a judged metric.
    """

    verdict: Verdict
    message: str
    n: int
    changed: int
    p_value: float
    kappa: float | None

    @property
    def drift(self) -> str:
        """Why the judge cannot be believed; "" when it can. Gates take it as `GateOptions.judge_drift`."""
        return "" if self.verdict is Verdict.PASS else self.message


def judge_label(judgement: Judgement) -> int | None:
    """Return the 1 or 0 that a judgement amounts to; None when nothing was decided or the votes are even.

    Where statements are judged, 1 means all of them: it is the question that people answer.
    """
    if judgement.score is None:
        return None
    needed = _ALL if judgement.task in CLAIM_TASKS else PASSES_FROM
    votes = judgement.votes or (judgement.score,)
    yes = sum(vote >= needed for vote in votes)
    if 2 * yes == len(votes):
        return None
    return int(2 * yes > len(votes))


def calibrate(labels: Sequence[Label], judged: Sequence[Judgement | str], *, seed: int = 0) -> list[Calibration]:
    """Compare labels with a judge's opinions on the same answers, in the same order; one calibration a task.

    Labels of people who could not tell are left out. A text in place of a judgement is why there is none.
    """
    pairs = [(label, opinion) for label, opinion in zip(labels, judged, strict=True) if label.label is not None]
    tasks = sorted({label.task for label, _ in pairs})
    return [_calibrated(task, [pair for pair in pairs if pair[0].task == task], seed) for task in tasks]


def anchors_of(labels: Sequence[Label], judged: Sequence[Judgement | str], identity: JudgeIdentity) -> list[Anchor]:
    """Return the anchors that a calibrated judge is held to from now on; what it could not judge is none."""
    return [
        Anchor(label, judge_label(opinion), identity.digest)
        for label, opinion in zip(labels, judged, strict=True)
        if label.label is not None and isinstance(opinion, Judgement)
    ]


def check_anchors(
    anchors: Sequence[Anchor],
    judged: Sequence[Judgement | str],
    identity: JudgeIdentity,
    *,
    max_drift: float,
    min_kappa: float,
) -> AnchorCheck:
    """Compare what a judge says today with what it said when it was calibrated, and with people.

    ERROR when it is another judge, when labels shift in one direction (exact McNemar, p <= 0.01), when more than
    `max_drift` of them changed, or when a task's agreement with people fell below `min_kappa`.
    """
    then = [anchor.judge_label for anchor in anchors]
    now = [judge_label(opinion) if isinstance(opinion, Judgement) else None for opinion in judged]
    failed = [opinion for opinion in judged if isinstance(opinion, str)]
    changed = sum(a != b or isinstance(c, str) for a, b, c in zip(then, now, judged, strict=True))
    gone = sum((a, b) == (1, 0) for a, b in zip(then, now, strict=True))
    new = sum((a, b) == (0, 1) for a, b in zip(then, now, strict=True))
    p_value = mcnemar_exact(gone, new)
    tasks = calibrate([anchor.label for anchor in anchors], judged)
    kappas = [item.kappa for item in tasks if item.kappa is not None]
    reasons = _other_judge(anchors, identity)
    if p_value <= _DRIFT_P:
        reasons.append(f"labels shift in one direction: {gone} from 1 to 0, {new} from 0 to 1 (p = {p_value:.2g})")
    if anchors and changed > max_drift * len(anchors):
        reasons.append(f"{changed} of {len(anchors)} labels changed, more than {max_drift:.0%}{_first(failed)}")
    reasons += [
        f"{item.task}: agreement with people is {item.kappa:.2f}, below {min_kappa:g}"
        for item in tasks
        if item.kappa is not None and item.kappa < min_kappa
    ]
    if not anchors:
        reasons.append("there is no anchor")
    message = "; ".join(reasons) or f"{changed} of {len(anchors)} labels changed"
    verdict = Verdict.ERROR if reasons else Verdict.PASS
    return AnchorCheck(verdict, message, len(anchors), changed, p_value, min(kappas, default=None))


def judge_digest(identity: JudgeIdentity, anchors: Iterable[Anchor] = ()) -> Digest:
    """Return what runs are bound to: the judge and the answers that hold it to its word."""
    return digest_json({"judge": identity.digest, "anchors": [anchor.to_dict() for anchor in anchors]})


def _other_judge(anchors: Sequence[Anchor], identity: JudgeIdentity) -> list[str]:
    others = sorted({anchor.judge_digest for anchor in anchors} - {identity.digest})
    if not others:
        return []
    anew = f"`shipway judge calibrate {identity.name} --labels FILE --write-anchors FILE`"
    told = f"the anchors were written by judge {others[0]}, this is {identity.digest}"
    return [f"{told}: calibrate it and write them anew with {anew}"]


def _first(failed: Sequence[str]) -> str:
    return f" ({len(failed)} could not be judged: {failed[0]})" if failed else ""


def _calibrated(task: Task, pairs: Sequence[tuple[Label, Judgement | str]], seed: int) -> Calibration:
    failed = tuple(opinion for _, opinion in pairs if isinstance(opinion, str))
    told = [(label, judge_label(opinion)) for label, opinion in pairs if isinstance(opinion, Judgement)]
    decided = [(label, said) for label, said in told if said is not None]
    people, judge = [label.label == 1 for label, _ in decided], [said == 1 for _, said in decided]
    counts = confusion(people, judge) if decided else Confusion(0, 0, 0, 0)
    kappa = cohen_kappa(counts) if decided else None
    clusters = [label.case for label, _ in decided]
    return Calibration(
        task,
        n=len(decided),
        undecided=len(told) - len(decided),
        failed=len(failed),
        confusion=counts,
        kappa=kappa,
        kappa_interval=None if kappa is None else kappa_interval(people, judge, clusters, seed=seed),
        q0=counts.specificity,
        q0_interval=_interval(counts.true_negative, counts.negatives),
        q1=counts.sensitivity,
        q1_interval=_interval(counts.true_positive, counts.positives),
        reasons=failed[:3],
    )


def _interval(successes: int, n: int) -> Interval | None:
    return wilson_interval(successes, n, _CONFIDENCE) if n else None
