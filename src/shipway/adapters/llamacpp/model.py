"""A GGUF model in this process: chat template, prefix cache, stop texts. Only the worker thread may call it."""

import codecs
import os
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from shipway.adapters.openai_http.wire import EngineRequest, Finish, Piece, RefusedError
from shipway.core.errors import IntegrityError, NotFoundError, UnavailableError

_MAGIC = b"GGUF"


class LocalModel(Protocol):
    """What the worker thread drives."""

    def stream(self, request: EngineRequest) -> Iterator[Piece | Finish]:
        """Yield pieces and one finish; not going on is how a generation is cancelled.

        Raises:
            RefusedError: the prompt does not fit.
        """
        ...

    def close(self) -> None:
        """Free the model."""
        ...


def check_model_file(path: Path) -> None:
    """Refuse a file that cannot be a model, before anything is loaded.

    Raises:
        NotFoundError: there is no such file.
        IntegrityError: it is not a GGUF file.
    """
    if not path.is_file():
        raise NotFoundError(f"{path}: no such model file", hint="run `shipway models install`")
    with path.open("rb") as file:
        magic = file.read(len(_MAGIC))
    if magic != _MAGIC:
        raise IntegrityError(
            f"{path}: not a GGUF file (it begins with {magic!r}, not {_MAGIC!r})",
            hint="give a .gguf model file, or an id of `shipway models list`",
        )


_SLOTS = 3
"""Contexts with a memory of their own. During a rollout stable and candidate alternate; with one context each prompt's
examples (300 of 330 tokens in the example) would be read again every time, which is most of an answer's time."""


class _Slot:
    """A context and what it holds after its last call, by our own count."""

    def __init__(self, llama: Any) -> None:
        self.llama = llama
        self.held: list[int] = []
        self.used = 0


class LlamaModel:
    """llama.cpp's model; prompts that begin alike are read once, also when `slots` kinds of prompt alternate.

    The weights are mapped from the file, so that further contexts cost their memory of tokens alone (about 50 MB at
    2048 tokens of a 135M model).
    """

    def __init__(self, path: Path, *, ctx: int, threads: int, slots: int = _SLOTS) -> None:
        check_model_file(path)
        # Waiting threads that spin starve their neighbours: with one busy process beside it, 2 threads fell from 143 to
        # 3 tokens/s. OpenMP reads this when its library is loaded, which is why the import stands below.
        os.environ["OMP_WAIT_POLICY"] = "passive"
        try:
            from llama_cpp import Llama, llama_vocab_is_eog  # noqa: PLC0415 - an optional SDK
            from llama_cpp.llama_chat_format import Jinja2ChatFormatter  # noqa: PLC0415
        except ImportError as error:
            raise UnavailableError(
                "llama-cpp-python is not installed", hint="install the extra: pip install 'shipway[local]'"
            ) from error

        def context() -> Any:
            return Llama(
                str(path), n_ctx=ctx, n_threads=threads, n_threads_batch=threads, verbose=False, logits_all=False
            )

        try:
            self._slots = [_Slot(context()) for _ in range(slots)]
        except ValueError as error:
            raise IntegrityError(f"{path}: llama.cpp cannot load it ({error})", hint="is the file whole?") from error
        first = self._slots[0].llama
        self._ends: Callable[[int], bool] = partial(llama_vocab_is_eog, first._model.vocab)  # noqa: SLF001
        template = first.metadata.get("tokenizer.chat_template")
        if template is None:
            raise IntegrityError(f"{path}: the model has no chat template", hint="use an instruction-tuned model")
        self._formatter = Jinja2ChatFormatter(
            template, eos_token=_text(first, first.token_eos()), bos_token=_text(first, first.token_bos())
        )
        self._ctx = ctx
        self._calls = 0

    def stream(self, request: EngineRequest) -> Iterator[Piece | Finish]:
        """Generate; see the port."""
        prompt = self._tokens(request)
        room = self._ctx - len(prompt)
        if room < 1:
            message = f"the prompt has {len(prompt)} tokens, the model's context is {self._ctx}"
            raise RefusedError(400, message, code="context_length_exceeded", param="messages")
        limit = min(request.sampling.max_tokens, room)
        slot, cached = self._slot_for(prompt)
        slot.held = list(prompt)
        stops = StopScanner(request.sampling.stop)
        decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        made, reason = 0, "length"
        for token in _sampled(slot.llama, prompt, request):
            if self._ends(token):
                reason = "stop"
                break
            made += 1
            slot.held.append(token)
            text = stops.push(decoder.decode(slot.llama.detokenize([token], prev_tokens=[prompt[-1]])))
            if text:
                yield Piece(text)
            if stops.hit:
                reason = "stop"
                break
            if made >= limit:
                break
        if rest := stops.rest():
            yield Piece(rest)
        yield Finish(reason, len(prompt), cached, made)

    def close(self) -> None:
        """Free the model."""
        for slot in self._slots:
            slot.llama.close()

    def _slot_for(self, prompt: list[int]) -> tuple[_Slot, int]:
        """Return the slot that holds most of the prompt and how many tokens of it, else the longest unused one."""
        held = [_common_prefix(slot.held, prompt) for slot in self._slots]
        cached = max(held)
        # A few tokens of chat template are in every prompt: they are no reason to throw another kind's memory away.
        fits = cached > len(prompt) // 2
        place = held.index(cached) if fits else min(range(len(held)), key=lambda at: self._slots[at].used)
        self._calls += 1
        self._slots[place].used = self._calls
        return self._slots[place], held[place]

    def _tokens(self, request: EngineRequest) -> list[int]:
        llama = self._slots[0].llama
        if not request.is_chat:
            return list(llama.tokenize(request.prompt.encode(), add_bos=True, special=False))
        messages: list[Any] = list(request.messages)
        formatted = self._formatter(messages=messages)
        return list(llama.tokenize(formatted.prompt.encode(), add_bos=not formatted.added_special, special=True))


def _sampled(llama: Any, prompt: list[int], request: EngineRequest) -> Iterator[int]:
    sampling = request.sampling
    if sampling.seed is not None:
        llama.set_seed(sampling.seed)
    tokens: Iterator[int] = llama.generate(
        prompt,
        top_k=40,
        top_p=sampling.top_p,
        min_p=0.0,
        temp=sampling.temperature,
        repeat_penalty=sampling.repeat_penalty,
    )
    return tokens


def _text(llama: Any, token: int) -> str:
    return str(llama._model.token_get_text(token)) if token >= 0 else ""  # noqa: SLF001


class StopScanner:
    """Holds text back while it may be the beginning of a stop text, and cuts at the first one that is whole."""

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops = tuple(stops)
        self._held = ""
        self.hit = False

    def push(self, text: str) -> str:
        """Take new text and return what is safe to send."""
        self._held += text
        places = [place for stop in self._stops if (place := self._held.find(stop)) >= 0]
        if places:
            self.hit = True
            safe, self._held = self._held[: min(places)], ""
            return safe
        keep = max((self._overlap(stop) for stop in self._stops), default=0)
        cut = len(self._held) - keep
        safe, self._held = self._held[:cut], self._held[cut:]
        return safe

    def rest(self) -> str:
        """Return what was held back when generation ended without a stop text."""
        held, self._held = self._held, ""
        return held

    def _overlap(self, stop: str) -> int:
        longest = min(len(stop) - 1, len(self._held))
        return next((size for size in range(longest, 0, -1) if self._held.endswith(stop[:size])), 0)


def _common_prefix(held: Sequence[int], prompt: Sequence[int]) -> int:
    for index, (one, other) in enumerate(zip(held, prompt, strict=False)):
        if one != other:
            return index
    return min(len(held), len(prompt))
