import pytest

from shipway.core.errors import UsageError
from shipway.evals.languages import check_languages, confidence_in, load_languages

TEXTS = {
    "en": "You can return an unused kettle within 45 days.",
    "de": "Sie können einen unbenutzten Wasserkocher innerhalb von 45 Tagen zurückgeben.",
    "fr": "Vous pouvez retourner une bouilloire non utilisée dans les 45 jours.",
    "ja": "未使用のケトルは45日以内に返品できます。ご不明な点はお問い合わせください。",
}


@pytest.mark.parametrize(("code", "text"), TEXTS.items())
def test_a_sentence_is_in_its_own_language(code, text):
    assert confidence_in(text, [code]) > 0.9
    assert confidence_in(text, [other for other in TEXTS if other != code]) < 0.1


def test_the_confidence_in_several_languages_is_the_sum():
    text = TEXTS["de"]
    assert confidence_in(text, ["de", "en"]) == pytest.approx(confidence_in(text, ["de"]) + confidence_in(text, ["en"]))
    assert confidence_in(text, load_languages()) == pytest.approx(1.0)


@pytest.mark.parametrize("text", ["", "45", "45 Tage.", "1234 5678 9012 3456 7890 1234"])
def test_the_language_of_a_few_letters_is_not_told(text):
    with pytest.raises(UsageError, match="letters; its language can be told from 20"):
        confidence_in(text, ["de"])


def test_an_unknown_code_is_refused():
    check_languages(["en", "de"])
    with pytest.raises(UsageError, match="no language 'ge'"):
        check_languages(["en", "ge"])
