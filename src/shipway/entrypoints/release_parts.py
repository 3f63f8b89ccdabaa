"""The collaborators of making a release and of checking what it would be made of."""

from shipway.adapters.documents.readers import default_readers
from shipway.adapters.git.commits import Git
from shipway.entrypoints.corpus_parts import corpora
from shipway.entrypoints.model_files import LocalModelFiles
from shipway.rag.compose import parse_prompt
from shipway.services.project_check import CheckParts
from shipway.services.releases import ReleaseParts


class PromptFiles:
    """Implements `services.releases.PromptReader`."""

    def check(self, data: bytes, shown_as: str) -> None:
        """Raise ConfigError when the file is not a prompt."""
        parse_prompt(data, shown_as)


def release_parts() -> ReleaseParts:
    """Return the collaborators on this machine."""
    return ReleaseParts(Git(), LocalModelFiles(), PromptFiles(), corpora())


def check_parts() -> CheckParts:
    """Return what looks at the files, documents and models that a project names."""
    return CheckParts(PromptFiles(), LocalModelFiles(), default_readers().keys())
