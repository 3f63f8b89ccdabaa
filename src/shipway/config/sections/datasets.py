"""`datasets`: the cases that a project keeps, by name, and what is checked of them."""

from typing import Annotated, Literal

from pydantic import Field

from shipway.config.sections.gates import Share
from shipway.config.sections.section import Section


class DatasetChecks(Section):
    """From which value on a dataset is found wrong."""

    near_duplicate: Share = 0.85
    """Two questions that share this much of their word triples (Jaccard) are near-duplicates."""
    leakage: Share = 0.8
    """A question or reference whose runs of five words stand to this share in a prompt has leaked."""
    pii: Literal["off", "warn", "fail"] = "warn"
    """What personal data in a case means."""
    shift_p: Annotated[float, Field(gt=0, lt=1)] = 0.01
    """Length, language or topic differ from the last version when chance explains it less often than this."""
    min_cases: Annotated[int, Field(ge=0)] = 0
    """The fewest cases."""
    min_unanswerable: Annotated[int, Field(ge=0)] = 0
    """The fewest cases whose only right answer is to decline."""


class DatasetEntry(Section):
    """One dataset."""

    path: str
    """The file, relative to the project file."""
    format: Literal["auto", "jsonl", "yaml", "csv", "promptfoo", "ragas", "inspect"] = "auto"
    """What the file holds; `auto` goes by its suffix."""
    encoding: str = "utf-8"
    """How a CSV file encodes its characters."""
    delimiter: Annotated[str, Field(min_length=1, max_length=1)] | None = None
    """What stands between the columns of a CSV file; found out when not given."""
    expectations: str | None = None
    """A Great Expectations suite that the cases must meet, relative to the project file."""
    checks: DatasetChecks = DatasetChecks()
    """From which value on it is found wrong."""
