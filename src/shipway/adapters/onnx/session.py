"""An ONNX model and its tokenizer, run in a worker thread of their own; embedder and cross-encoder build on it."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import TypeAlias

import anyio
import anyio.to_thread
import numpy as np
import numpy.typing as npt
import onnxruntime
from tokenizers import Encoding, Tokenizer

from shipway.core.canonical import digest_json
from shipway.core.errors import IntegrityError, NotFoundError
from shipway.core.ids import Digest

Text: TypeAlias = str | tuple[str, str]

# Padding to the longest of a small batch costs little when the batch is sorted by length; larger ones only add memory.
_BATCH = 16


class OnnxModel:
    """Runs a BERT-like model over batches of similar length.

    One call at a time: onnxruntime's own threads are the parallelism.
    """

    def __init__(self, model_path: Path, tokenizer_path: Path, *, threads: int, max_tokens: int) -> None:
        for path in (model_path, tokenizer_path):
            if not path.is_file():
                raise NotFoundError(f"{path}: no such model file", hint="run `shipway models install`")
        self._tokenizer = Tokenizer.from_file(str(tokenizer_path))
        # The file's own settings pad everything to 512.
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(max_tokens, strategy="longest_first")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        # A spinning thread pool starves its neighbours on a small machine.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            self._session = onnxruntime.InferenceSession(str(model_path), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # the runtime's exceptions share no class but this one
            raise IntegrityError(
                f"{model_path}: not a model that onnxruntime can load ({error})", hint="run `shipway models install`"
            ) from error
        self._limiter: anyio.CapacityLimiter | None = None
        self.digest: Digest = digest_json(
            {"model": _file_digest(model_path), "tokenizer": _file_digest(tokenizer_path), "max_tokens": max_tokens}
        )

    async def run(self, texts: Sequence[Text]) -> list[tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]]:
        """Return for each text its first output (tokens or logits) and its attention mask, in order."""
        if self._limiter is None:
            self._limiter = anyio.CapacityLimiter(1)
        return await anyio.to_thread.run_sync(self._run, list(texts), limiter=self._limiter)

    def _run(self, texts: list[Text]) -> list[tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]]:
        encoded: list[Encoding] = self._tokenizer.encode_batch(texts)
        order = sorted(range(len(encoded)), key=lambda index: len(encoded[index].ids))
        found: list[tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]] | None] = [None] * len(encoded)
        for start in range(0, len(order), _BATCH):
            batch = order[start : start + _BATCH]
            inputs = _padded([encoded[index] for index in batch])
            (output,) = self._session.run(None, inputs)[:1]
            for row, index in enumerate(batch):
                found[index] = (output[row], inputs["attention_mask"][row])
        return [item for item in found if item is not None]


def _padded(encoded: Sequence[Encoding]) -> dict[str, npt.NDArray[np.int64]]:
    width = max(len(item.ids) for item in encoded)
    arrays = {
        name: np.zeros((len(encoded), width), np.int64) for name in ("input_ids", "attention_mask", "token_type_ids")
    }
    for row, item in enumerate(encoded):
        arrays["input_ids"][row, : len(item.ids)] = item.ids
        arrays["attention_mask"][row, : len(item.ids)] = 1
        arrays["token_type_ids"][row, : len(item.ids)] = item.type_ids
    return arrays


def _file_digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
