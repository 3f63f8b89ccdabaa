"""`routes`: the named entry points of the app, and `routing`, `budgets`, `rates`, `safety` around them."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from shipway.config.sections.section import Section


class Route(Section):
    """One entry point; OpenAI clients name it in `model`."""

    kind: Literal["chat", "rag", "http"]
    """chat asks a model, rag answers from the corpus, http is the user's own service."""
    model: str | None = None
    """A key of `models` (kinds chat and rag)."""
    prompt: str | None = None
    """A key of `prompts`; required for rag, optional for chat."""
    command: tuple[str, ...] | None = None
    """kind http: how a release's process is started; `{port}` is replaced, PORT and SHIPWAY_RELEASE are set."""
    url: str | None = None
    """kind http: where the service already runs, instead of `command`."""
    health: str = "/healthz"
    """kind http: the path that answers 200 when the process may get traffic."""
    timeout_s: Annotated[float, Field(gt=0)] = 30.0
    """Seconds until the whole answer must be there."""

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.kind == "http":
            if (self.command is None) == (self.url is None):
                raise ValueError("a route of kind http needs exactly one of command, url")
        elif self.model is None:
            raise ValueError(f"a route of kind {self.kind} needs model")
        if self.kind == "rag" and self.prompt is None:
            raise ValueError("a route of kind rag needs prompt")
        return self


class Budgets(Section):
    """Token budgets of one request."""

    max_prompt: Annotated[int, Field(ge=1)] = 6000
    """Tokens of a prompt at most; a longer one is refused."""
    max_new: Annotated[int, Field(ge=1)] = 512
    """Tokens that an answer may have at most."""


class Rates(Section):
    """Requests per minute; an environment's own limits, not part of a release."""

    per_ip_min: Annotated[int, Field(ge=1)] = 60
    """Requests per minute of one client address that bring no valid key."""
    per_key_min: Annotated[int, Field(ge=1)] = 120
    """Requests per minute of one key."""


class Safety(Section):
    """What an answer must satisfy."""

    citation_required_rag: bool = True
    """An answer of a rag route without a citation becomes the refusal."""
    refusal: str = "I don't know. I could not find this in the documents you may read."
    """What is answered when nothing may be."""
