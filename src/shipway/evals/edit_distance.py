"""How many characters two texts differ in. Assertions load this module when a dataset has a `levenshtein` entry."""

from rapidfuzz.distance import Levenshtein


def distance(a: str, b: str, most: int) -> int:
    """Return the number of insertions, deletions and substitutions; `most` + 1 when there are more."""
    return int(Levenshtein.distance(a, b, score_cutoff=most))


def likeness(a: str, b: str, least: float) -> float:
    """Return 1 - distance / length of the longer text; 0 when that is below `least`."""
    return float(Levenshtein.normalized_similarity(a, b, score_cutoff=least))
