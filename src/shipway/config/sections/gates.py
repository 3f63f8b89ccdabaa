"""`gates`: what a release must show before users see it."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from shipway.config.sections.section import Section

Share = Annotated[float, Field(ge=0, le=1)]


class Gate(Section):
    """One condition. Exactly one of min, max, non_regression, zero_tolerance."""

    metric: str
    """The metric that is judged."""
    min: float | None = None
    """The metric must be at least this."""
    max: float | None = None
    """The metric must be at most this."""
    non_regression: float | Literal["auto"] | None = None
    """The largest drop that is still acceptable; `auto` is the smallest that the dataset can see."""
    quantile: Annotated[float, Field(gt=0, lt=1)] | None = None
    """min or max: bound this quantile of the metric, such as 0.99 of latency_ms, instead of its mean."""
    cluster_robust: bool = False
    """min or max: widen the bound by the design effect of the source documents."""
    zero_tolerance: bool = False
    """Not one case may show it."""
    max_rate: Share | None = None
    """zero_tolerance: the rate that must be excluded; without it the bound is only reported."""
    alpha: Annotated[float, Field(gt=0, lt=1)] = 0.05
    """Probability of a wrong decision that is accepted."""
    tags: tuple[str, ...] = ()
    """Only cases with all of these tags; empty means all."""
    reason: str = ""
    """Why the threshold is what it is; shown beside the verdict."""

    @model_validator(mode="after")
    def _one_condition(self) -> Self:
        given = [self.min is not None, self.max is not None, self.non_regression is not None, self.zero_tolerance]
        if sum(given) != 1:
            raise ValueError("give exactly one of min, max, non_regression, zero_tolerance")
        return self
