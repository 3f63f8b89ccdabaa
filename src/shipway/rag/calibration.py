"""Fit the model of answerability to judged questions; the studies call it, a running gateway never does."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize

from shipway.core.errors import UsageError
from shipway.rag.answerable import Coefficients, Signals


@dataclass(frozen=True, slots=True)
class Calibration:
    """Fitted coefficients and what they do to the questions they were fitted on: shares in [0, 1]."""

    coefficients: Coefficients
    wrong_refusals: float
    right_refusals: float


def calibrate(
    pairs: Sequence[tuple[Signals, bool]], *, wrong_refusal_target: float = 0.05, ridge: float = 1.0
) -> Calibration:
    """Fit the model to (signals, answerable) pairs and set the threshold to refuse at most the target share wrongly.

    Both classes weigh the same, whatever their numbers; `ridge` is the penalty on standardised weights, in questions.

    Raises:
        UsageError: fewer than 5 questions of either kind, or a target outside [0, 1).

    Source: Platt 1999, probabilities for margins by a logistic fit.
    """
    labels = np.array([answerable for _, answerable in pairs], bool)
    kinds = (int(labels.sum()), int((~labels).sum()))
    if min(kinds) < 5:  # noqa: PLR2004 - below this the fit is noise
        message = f"{kinds[0]} answerable and {kinds[1]} unanswerable questions: calibration needs 5 of each"
        raise UsageError(message, hint="add cases to the calibration split")
    if not 0 <= wrong_refusal_target < 1:
        raise UsageError(f"wrong_refusal_target {wrong_refusal_target!r} is not in [0, 1)")
    values = np.array([[s.cosine, s.rerank, s.coverage] for s, _ in pairs], np.float64)
    mean, spread = values.mean(axis=0), values.std(axis=0)
    spread[spread < 1e-9] = 1.0  # noqa: PLR2004 - a signal that never moves
    fitted = _fit((values - mean) / spread, labels, ridge)
    weights = fitted[1:] / spread
    coefficients = Coefficients(
        bias=round(float(fitted[0] - weights @ mean), 4),
        cosine=round(float(weights[0]), 4),
        rerank=round(float(weights[1]), 4),
        coverage=round(float(weights[2]), 4),
    )
    return _with_threshold(coefficients, pairs, wrong_refusal_target)


def _fit(values: npt.NDArray[np.float64], labels: npt.NDArray[np.bool_], ridge: float) -> npt.NDArray[np.float64]:
    design = np.column_stack([np.ones(len(values)), values])
    signs = np.where(labels, 1.0, -1.0)
    balance = np.where(labels, 0.5 / labels.mean(), 0.5 / (~labels).mean())

    def loss(weights: npt.NDArray[np.float64]) -> float:
        fit = float((balance * np.logaddexp(0.0, -signs * (design @ weights))).sum())
        return fit + 0.5 * ridge * float(weights[1:] @ weights[1:])

    # A better passage never makes a question less answerable: negative weights would be noise.
    bounds = [(None, None), *[(0.0, None)] * values.shape[1]]
    found: npt.NDArray[np.float64] = minimize(loss, np.zeros(design.shape[1]), method="L-BFGS-B", bounds=bounds).x
    return found


def _with_threshold(coefficients: Coefficients, pairs: Sequence[tuple[Signals, bool]], target: float) -> Calibration:
    right = sorted(coefficients.probability(signals) for signals, answerable in pairs if answerable)
    wrong = sorted(coefficients.probability(signals) for signals, answerable in pairs if not answerable)
    # The target is spent in full even when a lower cut would refuse as many of the unanswerable questions seen here:
    # they are few, and new ones will lie nearer.
    kept = right[int(target * len(right))]
    # Half-way down to the next question, so that the cut does not lie on a case.
    below = max((value for value in [*right, *wrong] if value < kept), default=0.0)
    # Never above the question that is to be kept: rounding may cross it when the two lie closer than the last digit.
    threshold = min(round((kept + below) / 2, 6), kept)
    return Calibration(
        coefficients=replace(coefficients, threshold=threshold),
        wrong_refusals=sum(value < threshold for value in right) / len(right),
        right_refusals=sum(value < threshold for value in wrong) / len(wrong),
    )
