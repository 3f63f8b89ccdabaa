"""Which files are documents and who may read them; `build` and the check of a project scan with these rules.

Access is denied by default: a file that no rule names stops the build, because leaving it out silently would hide a
mistake and taking it in would give it away.
"""

import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path, PurePosixPath

from shipway.config.sections.corpus import Corpus, Source
from shipway.core.errors import DocumentError, NotFoundError
from shipway.core.ids import TenantId
from shipway.rag.model import Access
from shipway.rag.parse import SIDECAR_SUFFIX

_SHOWN = 20


@dataclass(frozen=True, slots=True)
class FoundFile:
    """A document's file before it is parsed."""

    path: str
    data: bytes
    sidecar: bytes | None
    access: Access
    tenant_root: str


@dataclass(frozen=True, slots=True)
class Scan:
    """The documents of a corpus, and the files that cannot be documents; paths are relative to the corpus root."""

    files: tuple[FoundFile, ...]
    refused: tuple[DocumentError, ...]


def scan(corpus: Corpus, root: Path, suffixes: Collection[str]) -> Scan:
    """Read all documents below `root`, in path order; hidden files and directories are passed over.

    Refused is a file that no rule names, of an unknown suffix, that leads out of the root or nowhere, or is unreadable.

    Raises:
        NotFoundError: the root is no directory.
    """
    if not root.is_dir():
        raise NotFoundError(f"corpus.root {corpus.root!r} is not a directory", hint="create it or change `corpus.root`")
    found: list[FoundFile] = []
    refused: list[DocumentError] = []
    for file, path in _documents(root):
        try:
            found.append(_read(root, file, path, corpus.sources, suffixes))
        except DocumentError as error:
            refused.append(error)
    return Scan(tuple(found), tuple(refused))


def refuse(corpus_root: str, errors: Sequence[DocumentError]) -> None:
    """Raise what is wrong with all of these documents, each with its path as the user knows it; nothing for none.

    Raises:
        DocumentError: which documents cannot be taken, and why.
    """
    placed = sorted((_placed(corpus_root, error) for error in errors), key=lambda error: error.path)
    if len(placed) == 1:
        raise placed[0]
    if placed:
        raise DocumentError(
            corpus_root,
            f"{len(placed)} files cannot be taken as documents:\n" + "\n".join(problem_lines(corpus_root, errors)),
            hint="correct all of them, or move them out of the folder, and build again",
        )


def problem_lines(corpus_root: str, errors: Sequence[DocumentError]) -> list[str]:
    """Return a line for each document, the first 20 by path and how many there are more."""
    placed = sorted((_placed(corpus_root, error) for error in errors), key=lambda error: error.path)
    lines = [" ".join(f"{error.path}: {error.reason}; {error.hint}".split()) for error in placed[:_SHOWN]]
    return lines + ([f"{corpus_root}: and {len(placed) - _SHOWN} more"] if len(placed) > _SHOWN else [])


def _placed(corpus_root: str, error: DocumentError) -> DocumentError:
    return DocumentError(str(PurePosixPath(corpus_root) / error.path), error.reason, hint=error.hint)


def _documents(root: Path) -> Iterator[tuple[Path, str]]:
    for file in sorted(root.rglob("*"), key=lambda item: item.relative_to(root).as_posix()):
        path = file.relative_to(root).as_posix()
        if (
            (file.exists() and not file.is_file())
            or path.endswith(SIDECAR_SUFFIX)
            or any(p.startswith(".") for p in file.relative_to(root).parts)
        ):
            continue
        yield file, path


def rule_for(path: str, sources: Sequence[Source]) -> Source | None:
    """Return the last rule that names the path; later rules are the more particular ones."""
    return next((source for source in reversed(sources) if _pattern(source.path).fullmatch(path)), None)


def tenant_root(tenant: str, sources: Sequence[Source]) -> str:
    """Return the directory that all of a tenant's rules share; `supersedes` paths start there."""
    prefixes = [_fixed_prefix(source.path) for source in sources if source.tenant == tenant]
    shared = prefixes[0]
    for prefix in prefixes[1:]:
        length = next(
            (i for i, (a, b) in enumerate(zip(shared, prefix, strict=False)) if a != b), min(len(shared), len(prefix))
        )
        shared = shared[:length]
    return "/".join(shared)


def _read(root: Path, file: Path, path: str, sources: Sequence[Source], suffixes: Collection[str]) -> FoundFile:
    shown = path.encode(errors="backslashreplace").decode()
    if shown != path:
        raise DocumentError(shown, "its name is not UTF-8", hint="rename the file")
    if not file.exists():
        raise DocumentError(path, "is a link to nothing", hint="mend or remove it")
    if not file.resolve().is_relative_to(root.resolve()):
        raise DocumentError(path, "is a link that leads out of the corpus", hint="copy the file into it")
    rule = rule_for(path, sources)
    if rule is None:
        hint = f"add a rule to `corpus.sources` (path: {PurePosixPath(path).parent / '**'}), or move the file away"
        raise DocumentError(path, "no rule says who may read it", hint=hint)
    if file.suffix.lower() not in suffixes:
        raise DocumentError(path, f"unknown suffix {file.suffix!r}", hint=f"known are {', '.join(sorted(suffixes))}")
    sidecar = file.with_name(file.name + SIDECAR_SUFFIX)
    try:
        data, metadata = file.read_bytes(), sidecar.read_bytes() if sidecar.is_file() else None
    except OSError as error:
        hint = "let the user who builds read it, or move it away"
        raise DocumentError(path, f"cannot be read: {error.strerror}", hint=hint) from error
    return FoundFile(
        path=path,
        data=data,
        sidecar=metadata,
        access=Access(TenantId(rule.tenant), frozenset(rule.groups)),
        tenant_root=tenant_root(rule.tenant, sources),
    )


def _fixed_prefix(pattern: str) -> list[str]:
    parts = PurePosixPath(pattern).parts
    fixed = [part for part in parts[:-1] if not re.search(r"[*?]", part)]
    return fixed[: next((i for i, part in enumerate(parts) if re.search(r"[*?]", part)), len(parts))]


@lru_cache(maxsize=512)
def _pattern(glob: str) -> re.Pattern[str]:
    """Translate a glob: `*` and `?` stay inside one directory, `**` crosses them."""
    parts = PurePosixPath(glob).parts
    pieces: list[str] = []
    for index, part in enumerate(parts):
        last = index == len(parts) - 1
        if part == "**":
            pieces.append(".*" if last else "(?:[^/]+/)*")
            continue
        translated = "".join({"*": "[^/]*", "?": "[^/]"}.get(sign, re.escape(sign)) for sign in part)
        pieces.append(translated + ("" if last else "/"))
    return re.compile("".join(pieces), re.DOTALL)
