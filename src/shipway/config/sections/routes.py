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


Usd = Annotated[float, Field(gt=0, le=1e6)]
PerMinute = Annotated[int, Field(ge=1, le=1_000_000_000)]


class Budgets(Section):
    """Token budgets of one request, which are part of a release; and money, an environment's own business."""

    max_prompt: Annotated[int, Field(ge=1)] = 6000
    """Tokens of a prompt at most; a longer one is refused."""
    max_new: Annotated[int, Field(ge=1)] = 512
    """Tokens that an answer may have at most."""
    daily_usd: Usd | None = None
    """US dollars that each tenant may spend in a UTC day."""
    monthly_usd: Usd | None = None
    """US dollars that each tenant may spend in a UTC month."""
    key_daily_usd: Usd | None = None
    """US dollars that each key may spend in a UTC day."""
    key_monthly_usd: Usd | None = None
    """US dollars that each key may spend in a UTC month."""


class Rates(Section):
    """Limits on requests and tokens; an environment's own, not part of a release."""

    per_ip_min: PerMinute = 60
    """Requests per minute of one client address that bring no valid key; as many with one that must be refused."""
    per_key_min: PerMinute = 120
    """Requests per minute of one key; as many more that must be refused, which take nothing of its limits."""
    per_tenant_min: PerMinute | None = None
    """Requests per minute of all keys of a tenant."""
    tokens_per_min: PerMinute | None = None
    """Tokens per minute, in and out, of one key."""
    tenant_tokens_per_min: PerMinute | None = None
    """Tokens per minute, in and out, of all keys of a tenant."""
    concurrent_per_key: Annotated[int, Field(ge=1)] | None = None
    """Requests of one key at the same time."""
    concurrent_per_tenant: Annotated[int, Field(ge=1)] | None = None
    """Requests of all keys of a tenant at the same time."""
    headers: Literal["refused", "all"] = "refused"
    """Which replies say in `x-ratelimit-*` headers what is left: refusals, or all (some 2 us a request)."""


class Safety(Section):
    """What an answer must satisfy."""

    citation_required_rag: bool = True
    """An answer of a rag route without a citation becomes the refusal."""
    refusal: str = "I don't know. I could not find this in the documents you may read."
    """What is answered when nothing may be."""
