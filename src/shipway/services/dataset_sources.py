"""The texts of a project that cases may have leaked into: prompts, their examples, documents."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import anyio.to_thread

from shipway.config.loading import LoadedProject
from shipway.core.errors import DocumentError, NotFoundError
from shipway.rag.compose import parse_prompt
from shipway.rag.ports import DocumentReader
from shipway.rag.sources import scan


@dataclass(slots=True)
class ProjectSources:
    """Texts by the path that a user knows; `unreadable` says why a document is not among them."""

    prompts: dict[str, str] = field(default_factory=dict)
    few_shots: dict[str, tuple[str, ...]] = field(default_factory=dict)
    documents: list[tuple[str, str]] = field(default_factory=list)
    unreadable: dict[str, str] = field(default_factory=dict)


async def project_sources(
    loaded: LoadedProject, readers: Mapping[str, DocumentReader], *, documents: bool
) -> ProjectSources:
    """Return the prompts of a project, and its documents when they are asked for.

    Raises:
        NotFoundError: a prompt or the corpus's folder is missing.
        ConfigError: a prompt is malformed.
    """
    found = ProjectSources()
    for name, shown in loaded.project.prompts.items():
        try:
            data = await anyio.Path(loaded.root / shown).read_bytes()
        except OSError as error:
            hint = f"correct prompts.{name} in shipway.yaml"
            raise NotFoundError(f"prompts.{name}: {shown}: cannot be read: {error.strerror}", hint=hint) from error
        prompt = parse_prompt(data, shown)
        found.prompts[shown] = f"{prompt.system}\n{prompt.user}"
        found.few_shots[shown] = tuple(f"{item.user}\n{item.assistant}" for item in prompt.examples)
    if documents:
        await _read_documents(loaded, readers, found)
    return found


async def _read_documents(loaded: LoadedProject, readers: Mapping[str, DocumentReader], found: ProjectSources) -> None:
    corpus = loaded.project.corpus
    if corpus is None:
        return
    scanned = await anyio.to_thread.run_sync(scan, corpus, loaded.root / corpus.root, readers.keys())
    found.unreadable |= {f"{corpus.root}/{error.path}": error.reason for error in scanned.refused}
    for file in scanned.files:
        suffix = "." + file.path.rpartition(".")[2].lower()
        try:
            extract = await readers[suffix].read(file.path, file.data)
        except DocumentError as error:
            found.unreadable[f"{corpus.root}/{file.path}"] = error.reason
        else:
            found.documents.append((f"{corpus.root}/{file.path}", "\n".join(block.text for block in extract.blocks)))
