"""Reading the secrets that a project names."""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from shipway.config.sections.secrets import SecretRef
from shipway.config.yaml_source import KeyPath
from shipway.core.errors import ConfigError


def secret_references(value: Any, path: KeyPath = ()) -> Iterator[tuple[KeyPath, SecretRef]]:
    """Yield every secret that settings name, with its key path."""
    if isinstance(value, SecretRef):
        yield path, value
        return
    inner: Iterable[tuple[str | int, Any]] = ()
    if isinstance(value, BaseModel):
        inner = ((name, getattr(value, name)) for name in type(value).model_fields)
    elif isinstance(value, dict):
        inner = value.items()
    elif isinstance(value, list | tuple):
        inner = enumerate(value)
    for key, item in inner:
        yield from secret_references(item, (*path, key))


def resolve_secret(reference: SecretRef, *, root: Path, environ: Mapping[str, str]) -> str:
    """Return the secret a reference names.

    Raises:
        ConfigError: it is not set, not readable or empty.
    """
    if reference.env is not None:
        value = environ.get(reference.env, "")
        where = f"environment variable {reference.env}"
    else:
        path = root / (reference.file or "")
        where = str(reference.file)
        try:
            value = path.read_text(encoding="utf-8").removesuffix("\n")
        except OSError as error:
            raise ConfigError([f"{where}: cannot read the secret: {error.strerror}"]) from error
        except UnicodeDecodeError as error:
            # The error itself holds the bytes of the secret, so it is not chained.
            raise ConfigError([f"{where}: byte {error.start} of the secret is not UTF-8"]) from None
    if not value.strip():
        raise ConfigError([f"{where}: the secret is not set or empty"])
    return value
