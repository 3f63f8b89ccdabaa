"""`judges`: who gives an opinion on answers where no rule can, by name."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from shipway.config.sections.gates import Share
from shipway.config.sections.section import Section


class JudgeEntry(Section):
    """One judge."""

    kind: Literal["llm", "embedded"]
    """`llm` asks a model by rubric; `embedded` compares texts on this machine, without keys."""
    model: str | None = None
    """llm: the alias of the model that is asked."""
    repeats: Annotated[int, Field(ge=1, le=100)] = 1
    """llm: how often each answer is judged; the mean counts."""
    swap: bool = True
    """llm: judge once more with answer and reference in the other order."""
    temperature: Annotated[float, Field(ge=0, le=2)] = 0.0
    """llm: how freely the judge words its opinion."""
    timeout_s: Annotated[float, Field(gt=0)] = 60.0
    """Seconds after which a judgement is an ERROR."""
    rubric: str | None = None
    """A file that says what a right answer shows, relative to the project file."""
    anchors: str | None = None
    """Answers with labels by people (JSON lines) that are judged again every time, relative to the project file."""
    max_drift: Share = 0.1
    """The share of the anchors that may be judged otherwise than before."""
    min_kappa: Annotated[float, Field(ge=-1, le=1)] = 0.4
    """The least agreement with people, beyond chance (Cohen's kappa)."""
    max_tokens: Annotated[int, Field(ge=1)] = 512
    """llm: the longest reply."""

    @model_validator(mode="after")
    def _model_of_a_model(self) -> Self:
        if self.kind == "llm" and self.model is None:
            raise ValueError("a judge of kind llm needs model: the alias of an entry of models")
        if self.kind == "embedded" and self.model is not None:
            raise ValueError("a judge of kind embedded asks no model; remove model, or use kind: llm")
        return self
