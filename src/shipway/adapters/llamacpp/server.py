"""The embedded engine's process; `shipway up` starts one for each model alias with the engine `llamacpp`."""

import os
from pathlib import Path

from shipway.adapters.llamacpp.model import LlamaModel, check_model_file
from shipway.adapters.llamacpp.worker import ModelWorker
from shipway.adapters.openai_http.asgi import EngineApp
from shipway.adapters.openai_http.process import engine_server

_DEFAULT_CTX = 2048


def default_threads() -> int:
    """Return how many threads leave a core to the rest: with all of them busy, a neighbour costs nearly all speed."""
    return max(1, (os.cpu_count() or 2) - 1)


def run_engine(
    model_path: Path, host: str, port: int, *, alias: str, ctx: int = _DEFAULT_CTX, threads: int | None = None
) -> None:
    """Serve a GGUF model on host and port until SIGTERM; `/health` says when it is loaded.

    Raises:
        NotFoundError: the model file is not there.
        IntegrityError: it is not a GGUF file.
    """
    check_model_file(model_path)
    chosen = threads or default_threads()
    worker = ModelWorker(alias, lambda: LlamaModel(model_path, ctx=ctx, threads=chosen))
    engine_server(EngineApp(worker), host, port).run()
