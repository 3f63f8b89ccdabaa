"""What the embedded judge's similarity of question and answer is worth: the probability that they belong together."""

import math

INTERCEPT, SLOPE = -3.756, 17.507
"""Fitted to the 140 answerable calibration cases of the help desk, each answer against its own question and those of
other documents, with four in five taken to belong together. On the 75 test cases: 0.95 on average for a right answer
and 0.22 for an answer to another question; 97 % and 15 % of them have 0.5 or more (area under the curve 0.98)."""


def on_topic(similarity: float) -> float:
    """Return the probability that an answer is about its question; a cosine alone means something else in each model.

    `similarity` is the cosine by `judges.embedded.EMBEDDING`.
    """
    return 1.0 / (1.0 + math.exp(-(INTERCEPT + SLOPE * similarity)))
