"""`evals`: what a release is judged on, and how it is asked."""

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from shipway.config.sections.eval_targets import TargetEntry, path_parts
from shipway.config.sections.section import Section


class HttpQuestion(Section):
    """How a case is put to a route of kind http: one JSON request, one text out of the JSON reply."""

    path: str = "/"
    """The path below the service's address."""
    body: dict[str, Any]
    """The JSON body; `{question}` in a text is replaced by the case's question."""
    answer: str
    """Where the answer is in the reply, such as `label` or `result.text`."""
    usage: str | None = None
    """Where the object with the tokens is; by default `usage`, as OpenAI writes it."""
    cost_usd: str | None = None
    """Where the cost in US dollars is; by default `cost_usd`, `usage.cost` or the header `x-cost-usd`."""

    @field_validator("usage", "cost_usd")
    @classmethod
    def _is_a_path(cls, value: str | None) -> str | None:
        if value is not None:
            path_parts(value)
        return value


class EvalBudget(Section):
    """What one evaluation may take; without a number there is no cap."""

    max_cost_usd: Annotated[float, Field(gt=0)] | None = None
    """US dollars; needs the `price` of the models that answer."""
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    """Tokens of prompts and answers together."""


class Evals(Section):
    """The dataset a release is judged on."""

    dataset: str = "evals/cases.jsonl"
    """The cases, as JSON lines, YAML or CSV, relative to the project file; or a name of `datasets`."""
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
    target: TargetEntry | None = None
    """What `eval run` asks when no release is named."""
    smoke: str | None = None
    """The checks of `eval smoke` when no file is named, relative to the project file; without it what fits the app."""
    judge: str | None = None
    """Who judges what needs an opinion: an entry of `judges`."""
    metrics: tuple[str, ...] = ()
    """Metrics that are computed beside those that gates name."""
    seed: int = 0
    """Decides in which order cases are asked."""
    retries: Annotated[int, Field(ge=0, le=10)] = 2
    """How often a call that was turned away (429, 502, 503, 504, a broken connection) is made again."""
    max_concurrency: Annotated[int, Field(ge=1, le=256)] | None = None
    """How far `concurrency` grows while nobody says "too many"; by default not at all."""
    fail_fast: Annotated[int, Field(ge=1)] | None = None
    """End the run after so many failed cases; it has no verdict then but ERROR, or FAIL of a zero-tolerance gate."""
    looks: Annotated[int, Field(ge=1, le=5)] = 1
    """How often gates may look: while they are INCONCLUSIVE, more repeats are asked. Each look has `alpha / looks`."""
    extra_repeats: Annotated[int, Field(ge=1, le=50)] = 2
    """Repeats that a further look adds, to both releases."""
    budget: EvalBudget = EvalBudget()
    """What an evaluation may take; it ends before the call that would exceed it."""
    cache: bool = True
    """Whether runs that judge no release (`--no-gates`, matrices) may give an answer again that was given before."""
    keep_runs: Annotated[int, Field(ge=1)] = 20
    """How many ended runs are kept below `.shipway/runs`; results stay in the store. What awaits `--resume` stays."""
