"""Whether a dataset has another shape than its last version: lengths, languages, topics; `data_checks` calls this."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from shipway.evals.data_words import asked, words
from shipway.evals.model import Case
from shipway.stats.paired import holm
from shipway.stats.shift import category_shift, number_shift, vector_shift

FEWEST_CASES = 20
"""On each side; below, hardly any difference could be told from chance."""

_SEED = 20260101
_DRAWS_PER_ALARM = 30
_FEWEST_DRAWS = 999
_MOST_CASES = 2000


@dataclass(frozen=True, slots=True)
class Look:
    """What is needed beside the cases. `vectors` are (cases, dimensions) before and after; None compares no topics."""

    language_of: Callable[[str], str]
    vectors: tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]] | None = None


@dataclass(frozen=True, slots=True)
class Shift:
    """One comparison: its name, the p-value corrected for all of them (Holm) and the difference in words."""

    name: str
    p: float
    text: str


def shifts(before: Sequence[Case], after: Sequence[Case], look: Look, *, alpha: float) -> list[Shift]:
    """Return the comparisons of two versions of at least 20 cases each.

    Of more than 2,000 cases a fixed sample is compared. `alpha` decides how many random divisions are drawn: enough for
    the smallest corrected p-value to lie well below it.
    """
    rng = np.random.default_rng(_SEED)
    draws = max(_FEWEST_DRAWS, int(_DRAWS_PER_ALARM / alpha))
    places = [_sample(rng, len(cases)) for cases in (before, after)]
    sampled = [[cases[place] for place in chosen] for cases, chosen in zip((before, after), places, strict=True)]
    lengths = [[len(words(asked(case))) for case in cases] for cases in sampled]
    languages = [[look.language_of(asked(case)) for case in cases] for cases in sampled]
    found = {
        "length": number_shift(*lengths, rng=rng, draws=draws),
        "language": category_shift(*languages, rng=rng, draws=draws),
    }
    texts = {"length": _lengths_text(*lengths), "language": _languages_text(*languages)}
    if look.vectors is not None:
        first, second = (
            vectors[chosen].astype(np.float64) for vectors, chosen in zip(look.vectors, places, strict=True)
        )
        found["topic"] = vector_shift(first, second, rng=rng, permutations=draws)
        alike = float(first.mean(axis=0) @ second.mean(axis=0))
        texts["topic"] = f"the cosine of the mean questions is {alike / _lengths_of(first, second):.2f}"
    return [Shift(name, p, texts[name]) for name, p in holm(found).items()]


def _sample(rng: np.random.Generator, count: int) -> npt.NDArray[np.int64]:
    if count <= _MOST_CASES:
        return np.arange(count)
    return np.sort(rng.choice(count, _MOST_CASES, replace=False))


def _lengths_of(first: npt.NDArray[np.float64], second: npt.NDArray[np.float64]) -> float:
    product = float(np.linalg.norm(first.mean(axis=0)) * np.linalg.norm(second.mean(axis=0)))
    return product or 1.0


def _lengths_text(before: Sequence[int], after: Sequence[int]) -> str:
    return f"a question has {np.median(before):g} words in the middle before and {np.median(after):g} now"


def _languages_text(before: Sequence[str], after: Sequence[str]) -> str:
    names = sorted({*before, *after})
    moved = max(names, key=lambda name: abs(before.count(name) / len(before) - after.count(name) / len(after)))
    shares = f"{before.count(moved) / len(before):.0%} before and {after.count(moved) / len(after):.0%} now"
    return f"{moved!r} is the language of {shares}"
