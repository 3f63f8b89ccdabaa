"""Secrets that a stage's options name: `env:NAME` or `file:PATH`, never the secret itself."""

from collections.abc import Mapping
from pathlib import Path

from shipway.core.errors import UsageError

_KINDS = ("env:", "file:")


def resolved(reference: str, root: Path, environ: Mapping[str, str], what: str) -> str:
    """Return the secret behind a reference; files are relative to the project. `what` is named in errors.

    Raises:
        UsageError: it is no reference, or there is nothing behind it; the text itself is not repeated.
    """
    kind, _, name = reference.partition(":")
    match kind:
        case "env" if name:
            found = environ.get(name, "")
            where = f"environment variable {name}"
        case "file" if name:
            where = f"file {name}"
            try:
                found = (root / Path(name).expanduser()).read_text(encoding="utf-8")
            except (OSError, UnicodeDecodeError) as error:
                reason = error.strerror if isinstance(error, OSError) else "not text"
                raise UsageError(f"{what}: {where} cannot be read: {reason}") from None
        case _:
            raise UsageError(f"{what}: secrets are named, not written", hint="write env:NAME or file:PATH")
    if not found.strip():
        raise UsageError(f"{what}: {where} is not set or empty")
    return found.strip()


def is_reference(text: str) -> bool:
    """Tell whether a text names a secret."""
    return text.startswith(_KINDS)
