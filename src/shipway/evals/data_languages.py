"""In which language a text most likely is, for statistics of whole datasets; the model is loaded when it is asked."""

from collections.abc import Callable

from py3langid.langid import MODEL_FILE, LanguageIdentifier

UNSURE = "?"
"""Too short or too mixed to tell."""

_FEWEST_LETTERS = 20
_LEAST_CONFIDENCE = 0.8
_LOOKED_AT_CHARS = 5_000


def load_language_of() -> Callable[[str], str]:
    """Return a function that names the language of a text by its ISO 639 code, or `UNSURE`."""
    identifier = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)

    def language_of(text: str) -> str:
        beginning = text[:_LOOKED_AT_CHARS]
        if sum(character.isalpha() for character in beginning) < _FEWEST_LETTERS:
            return UNSURE
        code, confidence = identifier.classify(beginning)
        return str(code) if confidence >= _LEAST_CONFIDENCE else UNSURE

    return language_of
