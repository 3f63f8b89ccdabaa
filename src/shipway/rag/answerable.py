"""Decide from the signals of the best passage whether a question can be answered; `retrieve` asks.

`calibration` fits the model. One signal is not enough: on paraphrased questions the cross-encoder refuses what the
vectors find, and on near misses (the right subject, a fact that is not there) the vectors accept what the cross-encoder
refuses.
"""

import math
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Signals:
    """What is known about a question's best passage.

    `cosine` in [-1, 1]; `rerank` is a logit; `coverage` in [0, 1] is how well the passage meets what the question
    expects (`expectation.py`).
    """

    cosine: float
    rerank: float
    coverage: float = 0.0


@dataclass(frozen=True, slots=True)
class Coefficients:
    """A logistic model over the signals; at or above `threshold` a question counts as answerable."""

    bias: float = 0.0
    cosine: float = 0.0
    rerank: float = 1.0
    coverage: float = 0.0
    threshold: float = 0.5

    def probability(self, signals: Signals) -> float:
        """Return the probability in [0, 1] that the passage answers the question."""
        logit = (
            self.bias + self.cosine * signals.cosine + self.rerank * signals.rerank + self.coverage * signals.coverage
        )
        return 1.0 / (1.0 + math.exp(-max(-60.0, min(60.0, logit))))
