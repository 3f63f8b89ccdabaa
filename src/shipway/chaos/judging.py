"""Whether promises were kept: from what was observed to checks and a verdict."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from shipway.chaos.plan import NO_REPLY, OK, STEADY, Experiment, Kind
from shipway.core.verdicts import Verdict, combined

_FEW = 3
_TRY_AGAIN = (429, 503)


@dataclass(frozen=True, slots=True)
class Observation:
    """One request: `status` 0 is no reply; the last three say how an error was told."""

    route: str
    status: int
    elapsed_ms: float
    request_id: str = ""
    retry_after: bool = False
    openai_error: bool = False
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Observed:
    """An experiment as it went. `others` are requests, during the fault, to routes that do not need what was broken.

    `unrecorded` are answered requests without a record, None when nobody could look. The rollout is its state.
    """

    before: tuple[Observation, ...]
    during: tuple[Observation, ...]
    after: tuple[Observation, ...]
    others: tuple[Observation, ...] = ()
    recovered_after_s: float | None = None
    unrecorded: tuple[str, ...] | None = None
    rollout_before: str = ""
    rollout_after: str = ""


@dataclass(frozen=True, slots=True)
class Check:
    """One promise. NO_DATA: it was not checked, and the message says why."""

    name: str
    verdict: Verdict
    message: str = ""


@dataclass(frozen=True, slots=True)
class ExperimentResult:
    """An experiment that ended; `reason` says why it was not done, `problem` why it could not be judged."""

    kind: Kind
    checks: tuple[Check, ...] = ()
    statuses: dict[str, dict[int, int]] = field(default_factory=dict, hash=False)
    recovered_after_s: float | None = None
    reason: str = ""
    problem: str = ""
    asked_for: bool = True

    @property
    def verdict(self) -> Verdict:
        """ERROR with a problem; NO_DATA when it was not done; else that of its checks, unchecked ones left out."""
        if self.problem:
            return Verdict.ERROR
        return combined(check.verdict for check in self.checks if check.verdict is not Verdict.NO_DATA)


def whole_verdict(results: Sequence[ExperimentResult]) -> Verdict:
    """Return the verdict of a run: what cannot be done here counts only when somebody asked for it."""
    return combined(result.verdict for result in results if result.asked_for or not result.reason)


def is_steady(observations: Sequence[Observation]) -> bool:
    """Tell whether enough requests were served to call it the usual state."""
    return bool(observations) and served_share(observations) >= STEADY


def served_share(observations: Sequence[Observation]) -> float:
    """Return the share of requests that were answered."""
    return sum(item.status == OK for item in observations) / len(observations) if observations else 0.0


def judge(experiment: Experiment, observed: Observed) -> ExperimentResult:
    """Check every promise."""
    found = [check(experiment, observed) for check in _CHECKS]
    phases = {"before": observed.before, "during": observed.during, "after": observed.after}
    return ExperimentResult(
        experiment.kind,
        tuple(check for check in found if check is not None),
        {name: dict(sorted(Counter(item.status for item in items).items())) for name, items in phases.items()},
        observed.recovered_after_s,
        asked_for=experiment.asked_for,
    )


def _kept(name: str, wrong: Sequence[str], of: int) -> Check:
    """Return the check of a promise on each of `of` requests."""
    if not of:
        return Check(name, Verdict.NO_DATA, "no request was one that it is about")
    if not wrong:
        return Check(name, Verdict.PASS, f"{of} of {of}")
    shown = "; ".join(list(dict.fromkeys(wrong))[:_FEW])
    return Check(name, Verdict.FAIL, f"broken by {len(wrong)} of {of}: {shown}")


def _statuses(experiment: Experiment, observed: Observed) -> Check:
    allowed = experiment.promises.statuses
    wrong = [_said(item) for item in observed.during if item.status not in allowed]
    return _kept("statuses", wrong, len(observed.during))


def _said(item: Observation) -> str:
    told = f"status {item.status}" if item.status != NO_REPLY else "no reply"
    return f"{told} ({item.problem})" if item.problem else told


def _served(experiment: Experiment, observed: Observed) -> Check | None:
    wanted = experiment.promises.min_served
    if not wanted:
        return None
    share = served_share(observed.during)
    verdict = Verdict.PASS if share >= wanted else Verdict.FAIL
    return Check("served", verdict, f"{share:.0%} of {len(observed.during)} were answered, promised {wanted:.0%}")


def _others(_experiment: Experiment, observed: Observed) -> Check | None:
    if not observed.others:
        return None
    share = served_share(observed.others)
    routes = ", ".join(sorted({item.route for item in observed.others}))
    verdict = Verdict.PASS if share >= STEADY else Verdict.FAIL
    return Check("other routes", verdict, f"{share:.0%} of {len(observed.others)} to {routes} were answered")


def _retry_after(experiment: Experiment, observed: Observed) -> Check | None:
    if not experiment.promises.retry_after:
        return None
    about = [item for item in observed.during if item.status in _TRY_AGAIN]
    return _kept("retry-after", [_said(item) for item in about if not item.retry_after], len(about))


def _shape(experiment: Experiment, observed: Observed) -> Check | None:
    if not experiment.promises.openai_errors:
        return None
    about = [item for item in observed.during if item.status not in {OK, NO_REPLY}]
    return _kept("errors like OpenAI's", [_said(item) for item in about if not item.openai_error], len(about))


def _in_time(experiment: Experiment, observed: Observed) -> Check:
    limit_ms = experiment.promises.answered_within_s * 1000.0
    wrong = [f"{item.elapsed_ms / 1000:.1f} s" for item in observed.during if item.elapsed_ms > limit_ms]
    return _kept(f"ends within {experiment.promises.answered_within_s:g} s", wrong, len(observed.during))


def _records(experiment: Experiment, observed: Observed) -> Check | None:
    if not experiment.promises.records:
        return None
    name = "no answer without a record"
    if observed.unrecorded is None:
        return Check(name, Verdict.NO_DATA, "the records could not be read")
    asked = (*observed.before, *observed.during, *observed.after, *observed.others)
    return _kept(name, observed.unrecorded, sum(item.status == OK for item in asked))


def _recovers(experiment: Experiment, observed: Observed) -> Check:
    name, limit_s = "recovers", experiment.promises.recovers_within_s
    if observed.recovered_after_s is None:
        return Check(name, Verdict.FAIL, f"requests are not served again {limit_s:g} s after the fault")
    if not is_steady(observed.after):
        return Check(name, Verdict.FAIL, f"then only {served_share(observed.after):.0%} were served")
    return Check(name, Verdict.PASS, f"after {observed.recovered_after_s:.1f} s, promised {limit_s:g} s")


def _rollout(experiment: Experiment, observed: Observed) -> Check | None:
    if not experiment.promises.rollout:
        return None
    if not observed.rollout_before:
        return Check("rollout", Verdict.NO_DATA, "no rollout is under way")
    verdict = Verdict.FAIL if observed.rollout_after in {"rolling_back", "rolled_back"} else Verdict.PASS
    return Check("rollout", verdict, f"{observed.rollout_before}, then {observed.rollout_after}")


_CHECKS: tuple[Callable[[Experiment, Observed], Check | None], ...] = (
    _statuses,
    _served,
    _others,
    _retry_after,
    _shape,
    _in_time,
    _records,
    _recovers,
    _rollout,
)
