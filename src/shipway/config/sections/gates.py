"""`gates`: what a release must show before users see it."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from shipway.config.sections.section import Section

Share = Annotated[float, Field(ge=0, le=1)]


class Gate(Section):
    """One condition. Exactly one of min, max, non_regression, zero_tolerance, model_update; or include alone."""

    include: str | None = None
    """A file inside the project whose `gates:` stand here; nothing else is given beside it."""
    metric: str = ""
    """The metric that is judged; not for model_update."""
    min: float | None = None
    """The metric must be at least this."""
    max: float | None = None
    """The metric must be at most this."""
    non_regression: float | Literal["auto"] | None = None
    """The largest drop that is still acceptable; `auto` is the smallest that the cases can see."""
    mode: Literal["absolute", "relative"] = "absolute"
    """non_regression: relative makes the drop a share of the baseline's mean, such as 0.05 for 5 %."""
    model_update: bool = False
    """Every metric with a min or max must be as good as the baseline's too; what the update costs is reported."""
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
        if self.include is not None:
            raise ValueError("include stands for the gates of a file; it is read from the project file alone")
        given = [self.min is not None, self.max is not None, self.non_regression is not None, self.zero_tolerance]
        if sum(given) + self.model_update != 1:
            raise ValueError("give exactly one of min, max, non_regression, zero_tolerance, model_update")
        if self.model_update == bool(self.metric):
            raise ValueError(
                "model_update judges every metric that has a limit; remove metric"
                if self.model_update
                else "metric is missing"
            )
        if self.mode == "relative" and not isinstance(self.non_regression, float):
            raise ValueError("mode relative needs a number in non_regression, such as 0.05 for 5 %")
        return self
