"""The collaborators of making a release."""

from shipway.adapters.git.commits import Git
from shipway.entrypoints.corpus_parts import corpora
from shipway.entrypoints.model_files import LocalModelFiles
from shipway.rag.compose import parse_prompt
from shipway.services.releases import ReleaseParts


class PromptFiles:
    """Implements `services.releases.PromptReader`."""

    def check(self, data: bytes, shown_as: str) -> None:
        """Raise ConfigError when the file is not a prompt."""
        parse_prompt(data, shown_as)


def release_parts() -> ReleaseParts:
    """Return the collaborators on this machine."""
    return ReleaseParts(Git(), LocalModelFiles(), PromptFiles(), corpora())
