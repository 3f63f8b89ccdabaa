"""Making a release from the project as it stands, and comparing releases."""

import unicodedata
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import anyio.to_thread

from shipway import __version__
from shipway.config.credentials import credential_lines
from shipway.core.canonical import canonical_json, digest_bytes
from shipway.core.errors import ConfigError, IntegrityError, NotFoundError, UsageError
from shipway.registry.difference import ReleaseDifference, difference
from shipway.registry.manifest import Ingredients, build_manifest
from shipway.registry.model import Provenance, Release, release_id
from shipway.services.application import Application
from shipway.services.project_dataset import project_dataset

_LARGEST_CODE_FILE_BYTES = 5_000_000
_NOT_CODE = frozenset({"__pycache__", ".git", ".shipway"})


class SourceControl(Protocol):
    """Where the commit of a project is read."""

    async def head(self, root: Path) -> tuple[str, bool] | None:
        """Return (commit, has uncommitted changes), or None outside a repository."""
        ...


class ModelFiles(Protocol):
    """Where the digest of a model's weights is known."""

    def digest(self, model: str, root: Path) -> str:
        """Return the digest of an embedded model's weights.

        Raises:
            NotFoundError: no such model.
        """
        ...


class PromptReader(Protocol):
    """What knows whether a prompt file is well-formed."""

    def check(self, data: bytes, shown_as: str) -> None:
        """Raise ConfigError when the file is not a prompt."""
        ...


class CorpusState(Protocol):
    """What knows which corpus was built last and whether the documents still are what it was built from."""

    async def current(self, app: Application) -> dict[str, object]:
        """Return `manifest`, `documents`, `chunks` of the built corpus.

        Raises:
            NotFoundError: none was built.
            IntegrityError: documents changed since.
        """
        ...


@dataclass(frozen=True, slots=True)
class ReleaseParts:
    """The collaborators that making a release needs."""

    source_control: SourceControl
    model_files: ModelFiles
    prompts: PromptReader
    corpus: CorpusState


@dataclass(frozen=True, slots=True)
class CreatedRelease:
    """A release and whether this call made it."""

    release: Release
    is_new: bool


async def create_release(app: Application, parts: ReleaseParts, *, message: str = "") -> CreatedRelease:
    """Hash what the project declares, store it as a release, and sign off on it in the audit log.

    Raises:
        NotFoundError: a prompt, code path, model or corpus is missing.
        ConfigError: a prompt file is malformed or holds a credential.
        DatasetError: the cases that the release will be judged on are missing or malformed.
    """
    root = app.loaded.root
    await project_dataset(app.loaded)
    code = await anyio.to_thread.run_sync(code_files, root, app.project.code.paths)
    prompts = await anyio.to_thread.run_sync(_prompt_files, root, dict(app.project.prompts), parts.prompts)
    corpus = await parts.corpus.current(app) if app.project.corpus else None
    model_files = {
        alias: parts.model_files.digest(entry.model, root) if entry.engine == "llamacpp" else None
        for alias, entry in app.project.models.items()
    }
    ingredients = Ingredients(
        code={path: digest_bytes(data) for path, data in code.items()},
        prompts={name: (path, digest_bytes(data)) for name, (path, data) in prompts.items()},
        model_files=model_files,
        corpus=corpus,
    )
    manifest = build_manifest(app.project, ingredients)
    for data in (*code.values(), *(body for _, body in prompts.values()), canonical_json(manifest)):
        await app.state.blobs.put(data)
    head = await parts.source_control.head(root)
    provenance = Provenance(
        created_by=app.actor,
        created_at_s=app.clock.now_s(),
        commit=head[0] if head else None,
        dirty=head[1] if head else False,
        message=message,
        shipway_version=__version__,
    )
    release, is_new = await app.releases.add(Release(release_id(manifest), manifest, provenance))
    if is_new:
        await app.audit("release.created", release.id, commit=provenance.commit, message=message)
    return CreatedRelease(release, is_new)


async def compare_releases(app: Application, before: str, after: str) -> ReleaseDifference:
    """Return what changed between two releases."""
    return difference(await app.releases.get(before), await app.releases.get(after))


def code_files(root: Path, patterns: tuple[str, ...]) -> dict[str, bytes]:
    """Return the content of each file that the patterns match, by its name in a release.

    Raises:
        NotFoundError: a pattern matches no file.
        UsageError: a pattern or a file that cannot be part of a release.
    """
    files: dict[str, bytes] = {}
    places: dict[str, Path] = {}
    resolved_root = root.resolve()
    for pattern in patterns:
        for path in _matches(root, pattern):
            if not path.resolve().is_relative_to(resolved_root):
                raise UsageError(f"code.paths: {path.relative_to(root)} leads out of the project by a link")
            if path.stat().st_size > _LARGEST_CODE_FILE_BYTES:
                limit = _LARGEST_CODE_FILE_BYTES // 1_000_000
                raise UsageError(
                    f"code.paths: {path.relative_to(root)} is larger than {limit} MB; leave data out of code"
                )
            name = _name(path.relative_to(root))
            if places.setdefault(name, path) != path:
                raise UsageError(
                    f"code.paths: two files are {name!r} once their Unicode form is made equal; rename one"
                )
            files[name] = path.read_bytes()
    return files


def _matches(root: Path, pattern: str) -> list[Path]:
    # `app/**` means every file below on Python 3.13 and only folders before; a release must not depend on that.
    full = f"{pattern}/*" if pattern.endswith("**") else pattern
    try:
        found = [path for path in root.glob(full) if path.is_file()]
    except (ValueError, NotImplementedError) as error:
        raise UsageError(f"code.paths: {pattern!r} is not a glob relative to the project: {error}") from error
    kept = [path for path in found if not _NOT_CODE.intersection(path.relative_to(root).parts)]
    if not kept:
        is_folder = (root / pattern).is_dir()
        hint = (
            f"for every file of the folder write {pattern}/**" if is_folder else "add the file or correct the pattern"
        )
        raise NotFoundError(f"code.paths: {pattern!r} matches no file in the project", hint=hint)
    return kept


def _name(relative: Path) -> str:
    name = relative.as_posix()
    try:
        name.encode()
    except UnicodeEncodeError as error:
        raise UsageError(f"code.paths: the name of {name!r} is not UTF-8; rename the file") from error
    # Systems differ in how they store an accented letter; the content is the same and so must be the id.
    return unicodedata.normalize("NFC", name)


def _prompt_files(root: Path, prompts: dict[str, str], reader: PromptReader) -> dict[str, tuple[str, bytes]]:
    return {
        name: (Path(relative).as_posix(), prompt_file(root, name, relative, reader))
        for name, relative in prompts.items()
    }


def prompt_file(root: Path, name: str, relative: str, reader: PromptReader) -> bytes:
    """Return the content of a prompt file that may be part of a release.

    Raises:
        NotFoundError: there is no such file.
        UsageError: it is a folder, cannot be read or leads out of the project.
        ConfigError: it is no prompt, or holds a credential.
    """
    path = root / relative
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        hint = f"write it, or correct prompts.{name} in shipway.yaml"
        raise NotFoundError(f"prompts.{name}: {relative}: no such file", hint=hint) from None
    except IsADirectoryError:
        raise UsageError(f"prompts.{name}: {relative} is a folder; name the prompt file") from None
    except OSError as error:
        raise UsageError(f"prompts.{name}: {relative}: cannot be read: {error.strerror}") from error
    if not path.resolve().is_relative_to(root.resolve()):
        raise UsageError(f"prompts.{name}: {relative} leads out of the project")
    leaked = credential_lines(data.decode(errors="replace"))
    if leaked:
        # The line itself is not repeated: this message ends in terminals and CI logs.
        raise ConfigError(
            [f"{relative}:{line}: this looks like a credential in clear text" for line in leaked],
            hint="every model call would carry it: take it out of the prompt and rotate it",
        )
    reader.check(data, relative)
    return data


async def verified_blob(app: Application, digest: str, what: str) -> bytes:
    """Return a blob that a release names.

    Raises:
        IntegrityError: it is gone or damaged; says what it was.
    """
    try:
        return await app.state.blobs.get(digest)  # type: ignore[arg-type]
    except NotFoundError as error:
        raise IntegrityError(
            f"{what}: its content {digest} is not in the store", hint="restore the store: `shipway db restore`"
        ) from error
