"""`datasets`: the cases that a project keeps, by name, and what is checked of them."""

import io
from typing import Annotated, Literal

from pydantic import Field, field_validator

from shipway.config.sections.gates import Share
from shipway.config.sections.section import Section


class DatasetChecks(Section):
    """From which value on a dataset is found wrong."""

    near_duplicate: Share = 0.85
    """Two questions that share this much of their word triples (Jaccard) are near-duplicates."""
    leakage: Share = 0.8
    """A question or reference whose runs of five words stand to this share in a prompt has leaked."""
    corpus_leakage: Literal["off", "warn", "fail"] = "fail"
    """What a question that stands word for word in a document means; a corpus of answered questions has many."""
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
    """How the file encodes its characters, such as `latin-1`."""
    delimiter: Annotated[str, Field(min_length=1, max_length=1)] | None = None
    """What stands between the columns of a CSV file; found out when not given."""
    checks: DatasetChecks = DatasetChecks()
    """From which value on it is found wrong."""
    expectations: str | None = None
    """A suite of Great Expectations that `dataset check` runs as well, relative to the project file."""

    @field_validator("encoding")
    @classmethod
    def _is_known(cls, value: str) -> str:
        try:
            io.TextIOWrapper(io.BytesIO(), encoding=value)
        except LookupError:
            raise ValueError(f"no encoding {value!r}; write one that Python knows, such as latin-1 or utf-16") from None
        return value
