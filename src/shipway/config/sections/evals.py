"""`evals`: what a release is judged on, and how it is asked."""

from typing import Annotated, Any, Literal

from pydantic import Field

from shipway.config.sections.section import Section


class HttpQuestion(Section):
    """How a case is put to a route of kind http: one JSON request, one text out of the JSON reply."""

    path: str = "/"
    """The path below the service's address."""
    body: dict[str, Any]
    """The JSON body; `{question}` in a text is replaced by the case's question."""
    answer: str
    """Where the answer is in the reply, such as `label` or `result.text`."""


class Evals(Section):
    """The dataset a release is judged on."""

    dataset: str = "evals/cases.jsonl"
    """The cases, JSON lines, relative to the project file."""
    split: Literal["all", "calibration", "test"] = "test"
    """Which cases count: calibration cases tune thresholds, test cases judge."""
    repeats: Annotated[int, Field(ge=1, le=100)] = 1
    """How often each case is asked; the mean counts."""
    concurrency: Annotated[int, Field(ge=1, le=256)] = 1
    """Cases asked at the same time."""
    case_timeout_s: Annotated[float, Field(gt=0)] = 60.0
    """Seconds after which a case is an ERROR."""
    route: str | None = None
    """The route that is asked; needed when the app has more than one that is not a plain chat."""
    http: HttpQuestion | None = None
    """How to ask a route of kind http."""
