"""Which language a text is in. Assertions load this module when a dataset has a `language` entry.

The model knows 140 languages and takes a second to load, which happens once.
"""

from collections.abc import Collection
from functools import cache

from py3langid.langid import MODEL_FILE, LanguageIdentifier

from shipway.core.errors import UsageError
from shipway.evals.suggestions import did_you_mean

MIN_LETTERS = 20
"""Below this, "Hotel Garni" is as much German as French."""
# The model's confidence is that of a paragraph; of a long text that repeats itself it sinks.
_LOOKED_AT_CHARS = 2_000


def load_languages() -> frozenset[str]:
    """Load the model and return the ISO 639 codes that it tells apart."""
    return frozenset(_identifier().labels)


def check_languages(codes: Collection[str]) -> None:
    """Refuse codes that the model does not know.

    Raises:
        UsageError: the first of them.
    """
    known = load_languages()
    for code in codes:
        if code not in known:
            raise UsageError(f"language: no language {code!r}; {did_you_mean(code, known)}")


def confidence_in(text: str, codes: Collection[str]) -> float:
    """Return the probability that the text is in one of the languages, from its first 2,000 characters.

    Raises:
        UsageError: fewer than 20 letters, from which nobody can tell.
    """
    beginning = text[:_LOOKED_AT_CHARS]
    letters = sum(character.isalpha() for character in beginning)
    if letters < MIN_LETTERS:
        raise UsageError(f"the answer has {letters} letters; its language can be told from {MIN_LETTERS}")
    wanted = set(codes)
    return float(sum(share for code, share in _identifier().rank(beginning) if code in wanted))


@cache
def _identifier() -> LanguageIdentifier:
    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
