"""Secrets, which a project file names and never holds."""

from pathlib import Path
from typing import Any, Self

from pydantic import model_validator

from shipway.config.sections.section import Section


class SecretRef(Section):
    """Where a secret is: `{env: NAME}` or `{file: path}`, exactly one of them."""

    env: str | None = None
    """The environment variable that holds it."""
    file: Path | None = None
    """The file that holds it; one trailing newline is dropped."""

    @model_validator(mode="before")
    @classmethod
    def _refuse_clear_text(cls, value: Any) -> Any:
        if not isinstance(value, dict | cls):
            # The value itself is not repeated: this message ends in terminals and CI logs.
            raise ValueError("a secret stands here in clear text; write {env: NAME} or {file: path} and rotate it")  # noqa: TRY004
        return value

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        if (self.env is None) == (self.file is None):
            raise ValueError("give exactly one of env, file")
        return self
