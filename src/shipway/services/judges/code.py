"""The version of the code that judges, as a digest of its sources; part of every judge's identity."""

from collections.abc import Sequence
from importlib import resources

from shipway.core.ids import Digest
from shipway.evals.baseline import source_digest

Source = tuple[str, str]
"""A package and a file in it."""

LLM_CODE: Sequence[Source] = (
    ("shipway.evals", "judgement.py"),
    ("shipway.evals", "judge_prompts.py"),
    ("shipway.evals", "judge_replies.py"),
    ("shipway.services.judges", "llm.py"),
)
EMBEDDED_CODE: Sequence[Source] = (
    ("shipway.evals", "judgement.py"),
    ("shipway.evals", "judge_prompts.py"),
    ("shipway.services.judges", "embedded.py"),
    ("shipway.rag", "answerable.py"),
    ("shipway.rag", "support.py"),
    ("shipway.rag", "quantities.py"),
    ("shipway.rag", "words.py"),
)


def code_digest(sources: Sequence[Source]) -> Digest:
    """Return the digest of sources; comments, blank lines and line ends do not change it."""
    return source_digest(
        resources.files(package).joinpath(file).read_text(encoding="utf-8") for package, file in sources
    )
