import threading
from pathlib import Path

import pytest
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace

from shipway.adapters.token_counts.counters import GgufTokens, HuggingFaceTokens, TokensWhenNeeded
from shipway.core.errors import IntegrityError, NotFoundError
from shipway.entrypoints.model_files import LocalModelFiles


class Ones:
    def count(self, text: str) -> int:
        return 1


def test_a_tokenizer_file_counts_its_own_tokens_and_ignores_its_truncation(tmp_path: Path):
    made = Tokenizer(WordLevel({"a": 0, "b": 1, "[UNK]": 2}, unk_token="[UNK]"))
    made.pre_tokenizer = Whitespace()
    made.enable_truncation(2)
    made.enable_padding(length=9)
    made.save(str(tmp_path / "tokenizer.json"))
    counter = HuggingFaceTokens(tmp_path / "tokenizer.json")

    assert counter.count("a b a b c") == 5
    assert counter.count("") == 0


def test_a_file_that_is_no_tokenizer_is_said_so(tmp_path: Path):
    (tmp_path / "x.json").write_text("{}")
    with pytest.raises(IntegrityError, match=r"x\.json"):
        HuggingFaceTokens(tmp_path / "x.json")


def test_a_counter_is_loaded_when_it_is_first_needed_and_estimates_until_then():
    go = threading.Event()
    loads = []

    def load() -> Ones:
        loads.append(1)
        go.wait(10)
        return Ones()

    counter = TokensWhenNeeded(load)
    assert not counter.loaded(0)
    assert loads == []
    assert counter.count("abcdefgh") == 2
    go.set()
    assert counter.loaded(10)
    assert counter.count("abcdefgh") == 1
    assert loads == [1]


def test_a_counter_that_cannot_be_loaded_goes_on_estimating():
    def load() -> Ones:
        raise IntegrityError("not a file")

    counter = TokensWhenNeeded(load)
    counter.count("x")
    assert not counter.loaded(10)
    assert counter.count("abcdefgh") == 2


@pytest.mark.model
def test_a_gguf_file_counts_with_the_models_own_vocabulary():
    try:
        path = LocalModelFiles().path("smollm2-135m-instruct", Path())
    except NotFoundError:
        pytest.skip("the model is not installed")
    counter = GgufTokens(path)

    assert counter.count("Hello world") == 2
    assert counter.count("") == 0
    assert counter.count("<|im_start|>") > 1
