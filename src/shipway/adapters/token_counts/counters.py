"""Token counts by the file of the model itself; implement `gateway.model.TokenCounter`.

The libraries are extras (`local`), so they are imported when a counter is made. Counting runs on the event loop: a
tokenizer does about a million tokens a second.
"""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from shipway.core.errors import IntegrityError
from shipway.gateway.budgeter import EstimatedTokens
from shipway.gateway.model import TokenCounter


class TokensWhenNeeded:
    """A counter that is loaded when the first prompt is long enough to be counted, beside the event loop.

    Most workers never see such a prompt, and a vocabulary takes some 40 MB. While it loads, or when it cannot be
    loaded, tokens are estimated.
    """

    def __init__(self, load: Callable[[], TokenCounter]) -> None:
        self._load = load
        self._counter: TokenCounter = EstimatedTokens()
        self._loading: threading.Thread | None = None

    def count(self, text: str) -> int:
        """Return the tokens of a text."""
        if self._loading is None:
            self._loading = threading.Thread(target=self._run, name="tokenizer", daemon=True)
            self._loading.start()
        return self._counter.count(text)

    def loaded(self, wait_s: float) -> bool:
        """Wait for the counter; False when it is not there in time, or nobody has counted yet."""
        if self._loading is None:
            return False
        self._loading.join(wait_s)
        return not isinstance(self._counter, EstimatedTokens)

    def _run(self) -> None:
        try:
            self._counter = self._load()
        except (IntegrityError, ImportError, OSError):
            # The estimate stays; it is on the safe side.
            return


class HuggingFaceTokens:
    """A `tokenizer.json`."""

    def __init__(self, path: Path) -> None:
        from tokenizers import Tokenizer  # noqa: PLC0415 - extra `local`

        try:
            self._tokenizer: Any = Tokenizer.from_file(str(path))
        except Exception as error:  # tokenizers raises bare Exception
            raise IntegrityError(f"{path}: not a tokenizer file: {error}") from error
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()

    def count(self, text: str) -> int:
        """Return the tokens of a text."""
        return len(self._tokenizer.encode(text, add_special_tokens=False).ids)


class GgufTokens:
    """The vocabulary inside a GGUF file; the weights are not loaded."""

    def __init__(self, path: Path) -> None:
        from llama_cpp import Llama  # noqa: PLC0415 - extra `local`

        try:
            self._model: Any = Llama(model_path=str(path), vocab_only=True, verbose=False)
        except ValueError as error:
            raise IntegrityError(f"{path}: not a GGUF file: {error}") from error

    def count(self, text: str) -> int:
        """Return the tokens of a text; what looks like a control token is counted as the text it is."""
        return len(self._model.tokenize(text.encode(), add_bos=False, special=False))
