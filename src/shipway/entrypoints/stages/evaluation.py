"""The built-in stages that judge: gates, regressions, safety, retrieval, data, cost."""

from typing import Annotated, Literal

from pydantic import Field

from shipway.config.sections.section import Section
from shipway.entrypoints.stages.quality import Words
from shipway.pipeline.builtins import Builtin

_WORK = "shipway.entrypoints.stages.work.evaluation"
_Share = Annotated[float, Field(ge=0, le=1)]


class Judging(Section):
    """The options of `gate`, `regression` and `safety`."""

    release: str = ""
    """A release; by default that of this run."""
    dataset: str = ""
    """Ask these cases first; without a dataset the newest evaluation is judged, and nothing is asked."""
    metrics: Words = ()
    """Only gates on these metrics; patterns such as tenant_*."""


class Gate(Judging):
    """The options of `gate`."""

    kinds: tuple[Literal["threshold", "non_regression", "zero_tolerance", "judge"], ...] = ()
    """Only gates of these kinds; by default all."""


class Retrieval(Section):
    """The options of `rag-integration`."""

    dataset: str = ""
    """Questions with known sources and answers; by default evals.dataset."""
    recall_min: _Share = 0.8
    """The least mean share of known sources among those found."""
    keyword_min: _Share = 0.7
    """The least mean share of demanded terms in the answers."""
    recall_metric: str = "recall_at_5"
    """The metric of retrieval."""


class SpotCheck(Section):
    """The options of `spot-check`."""

    dataset: str = ""
    """The cases; by default evals.dataset."""
    tags: Words = ()
    """Only cases with one of these tags; by default all."""
    share: Annotated[float, Field(gt=0, le=1)] = 0.01
    """Of those this share, the same ones each time, at least one."""
    most_wrong: _Share = 0.0
    """The largest share of wrong cases: without an answer, or wrong by a metric of a gate."""


class Data(Section):
    """The options of `data`."""

    datasets: Words = ()
    """Names of the section datasets, or files; by default evals.dataset."""
    against: str = ""
    """The version to compare with; by default the newest."""


class Cost(Section):
    """The options of `cost`."""

    release: str = ""
    """A release; by default that of this run."""
    dataset: str = ""
    """The cases; by default evals.dataset."""
    repeats: Annotated[int, Field(ge=1)] | None = None
    """How often each case is asked."""
    budget_usd: Annotated[float, Field(ge=0)] | None = None
    """The most dollars; by default that of the project's evaluations."""
    budget_tokens: Annotated[int, Field(ge=0)] | None = None
    """The most tokens; by default that of the project's evaluations."""


# Never kept: they look into the project's store, which no key covers. Only retrieval is decided by the release and the
# cases, and kept with those as inputs.
STAGES = (
    Builtin(
        "gate",
        f"{_WORK}:gate",
        "Judge the answers of the release by the gates; each gate is a finding.",
        Gate,
        asks="dataset",
    ),
    Builtin(
        "regression", f"{_WORK}:regression", "The release is no worse than what is stable.", Judging, asks="dataset"
    ),
    Builtin("safety", f"{_WORK}:safety", "The release violates no gate of zero tolerance.", Judging, asks="dataset"),
    Builtin(
        "spot-check",
        f"{_WORK}:spot_check",
        "A part of the cases is answered right: a quick look, no evidence for a gate.",
        SpotCheck,
        cacheable=True,
        asks="always",
    ),
    Builtin(
        "rag-integration",
        f"{_WORK}:rag_integration",
        "Ingested documents are found and answers hold their terms.",
        Retrieval,
        cacheable=True,
        asks="always",
    ),
    Builtin("data", f"{_WORK}:data", "Duplicates, leakage, personal data and shift of the datasets.", Data),
    Builtin(
        "cost",
        f"{_WORK}:cost",
        "What the evaluation will cost, against the budget; nothing is asked.",
        Cost,
        asks="always",
    ),
)
