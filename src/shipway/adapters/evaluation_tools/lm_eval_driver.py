"""Log-likelihoods for lm-eval without a tokenizer: `python -P lm_eval_driver.py probe|run …`, in its environment.

lm-eval itself counts the tokens of a context with the model's tokenizer, which nobody has of an endpoint. Here the
places of tokens that the endpoint tells divide context and continuation. It stands alone, with the standard library
and lm-eval; `lm_eval` starts it. `probe URL MODEL` says whether an endpoint can do it. Source: lm_eval 0.4.13; OpenAI's
API reference, "Completions" (`echo`, `logprobs`).
"""

import json
import os
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from typing import Any

MODEL = "shipway-echo"
CANNOT = 3
"""The exit code of a probe whose endpoint cannot do it; the last line says why."""
_CONTEXT, _CONTINUATION = "The capital of France is", " Paris"
_PAUSE_S = 1.0
_LONGEST = 300


class NoLikelihoodError(ValueError):
    """A reply that does not tell the log-likelihood of a continuation; the message says what is missing."""


def payload(model: str, text: str, seed: int) -> dict[str, Any]:
    """Return the request whose reply has the log-likelihood of every token of a text."""
    body = {"model": model, "prompt": text, "temperature": 0, "max_tokens": 1, "logprobs": 1}
    return {**body, "seed": seed, "echo": True}


def likelihood(reply: Mapping[str, Any], context: str, continuation: str) -> tuple[float, bool]:
    """Return the log-likelihood of a continuation, and whether it is what the model would have written.

    A token over the border of both counts to the continuation.

    Raises:
        NoLikelihoodError: the reply does not tell it.
    """
    text = context + continuation
    # Spaces belong to the word after them, as tokenizers have it.
    border = len(context.rstrip()) if context.strip() else len(context)
    tokens = _tokens(reply, text)
    total, greedy, counted = 0.0, True, 0
    for start, end, logprob, best in tokens:
        if end <= border or start >= len(text):
            continue
        if not isinstance(logprob, int | float):
            raise NoLikelihoodError("it tells no logprob of the first token: doc_to_text must not be empty")
        total, counted = total + logprob, counted + 1
        greedy = greedy and logprob >= best
    if not counted:
        raise NoLikelihoodError("its text_offset names no token of the continuation")
    return total, greedy


def _tokens(reply: Mapping[str, Any], text: str) -> list[tuple[int, int, Any, float]]:
    try:
        choice = reply["choices"][0]
        said, told = choice["text"], choice["logprobs"]
    except (LookupError, TypeError):
        raise NoLikelihoodError(f"the reply is no completion: {_short(reply)}") from None
    if not isinstance(said, str) or not said.startswith(text):
        raise NoLikelihoodError("it does not repeat the prompt (echo: true)")
    if not isinstance(told, dict) or not isinstance(told.get("token_logprobs"), list):
        raise NoLikelihoodError("it tells no token_logprobs (logprobs: 1)")
    starts, logprobs = told.get("text_offset"), told["token_logprobs"]
    best = told.get("top_logprobs") or [None] * len(logprobs)
    if not isinstance(starts, list) or len(starts) != len(logprobs) or len(best) != len(logprobs):
        raise NoLikelihoodError("it does not tell the text_offset of each token")
    ends = [*starts[1:], len(said)]
    highest = [max(item.values()) if isinstance(item, dict) and item else float("-inf") for item in best]
    return list(zip(starts, ends, logprobs, highest, strict=True))


def asked(url: str, body: Mapping[str, Any], timeout_s: float) -> dict[str, Any]:
    """Return the reply to a request.

    Raises:
        OSError: nobody answers, or with an error.
        ValueError: the reply is not JSON.
    """
    headers = {"content-type": "application/json"}
    if os.environ.get("OPENAI_API_KEY"):
        headers["authorization"] = f"Bearer {os.environ['OPENAI_API_KEY']}"
    request = urllib.request.Request(url, json.dumps(body).encode(), headers)  # noqa: S310 - the endpoint's address
    with urllib.request.urlopen(request, timeout=timeout_s) as reply:  # noqa: S310
        found: dict[str, Any] = json.load(reply)
    return found


def probe(url: str, model: str, timeout_s: float) -> str:
    """Return why an endpoint cannot tell log-likelihoods; "" when it can."""
    try:
        reply = asked(url, payload(model, _CONTEXT + _CONTINUATION, 0), timeout_s)
        likelihood(reply, _CONTEXT, _CONTINUATION)
    except urllib.error.HTTPError as error:
        return f"it answers {error.code}: {_short(error.read(_LONGEST).decode(errors='replace'))}"
    except (OSError, ValueError) as error:
        return str(error)
    return ""


def register() -> None:
    """Make the model known to lm-eval."""
    base = import_module("lm_eval.models.openai_completions").LocalCompletionsAPI

    class EchoedCompletions(base):  # type: ignore[misc, valid-type]
        def loglikelihood(self, requests: list[Any], **_options: Any) -> list[tuple[float, bool]]:
            with ThreadPoolExecutor(max(1, self._concurrent)) as pool:
                return list(pool.map(lambda request: self.one(*request.args), requests))

        def one(self, context: str, continuation: str) -> tuple[float, bool]:
            body = payload(self.model, context + continuation, self._seed)
            for left in reversed(range(self.max_retries + 1)):
                try:
                    return likelihood(asked(self.base_url, body, self.timeout), context, continuation)
                except OSError:
                    if not left:
                        raise
                    time.sleep(_PAUSE_S)
            raise AssertionError

    import_module("lm_eval.api.registry").register_model(MODEL)(EchoedCompletions)


def _short(value: Any) -> str:
    return " ".join(str(value).split())[:_LONGEST]


def main(words: list[str]) -> int:
    """Probe an endpoint, or run lm-eval with these words."""
    if words[:1] == ["probe"]:
        reason = probe(words[1], words[2], float(words[3]))
        sys.stdout.write(f"{reason}\n")
        return CANNOT if reason else 0
    register()
    import_module("lm_eval.__main__").cli_evaluate()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
