"""`models`: aliases for what generates, and `decoding`: how."""

import re
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from shipway.config.sections.secrets import SecretRef
from shipway.config.sections.section import Section

EngineKind = Literal["llamacpp", "echo", "openai", "azure", "vllm", "llamacpp-server", "sglang", "ollama", "trtllm"]
_ADDRESS = re.compile(r"https?://[^/\s]")
_STARTED_HERE = frozenset({"llamacpp", "echo"})


class Price(Section):
    """US dollars per million tokens."""

    input: Annotated[float, Field(ge=0)] = 0.0
    """Uncached input tokens."""
    cache_read: Annotated[float, Field(ge=0)] = 0.0
    """Input tokens read from the engine's cache."""
    cache_write: Annotated[float, Field(ge=0)] | None = None
    """Input tokens written to the engine's cache; by default the price of `input`."""
    output: Annotated[float, Field(ge=0)] = 0.0
    """Generated tokens."""


class ModelEntry(Section):
    """One model alias."""

    engine: EngineKind
    """`llamacpp` and `echo` are started by `shipway up`, all others run elsewhere. `vllm`, `llamacpp-server`, `sglang`,
    `ollama` and `trtllm` are probed for their health; `openai` is any other OpenAI-compatible endpoint."""
    model: str
    """The engine's name of the model; for `llamacpp` an id of `shipway models list` or a path to a GGUF file."""
    base_url: str | None = None
    """Where the engine listens, up to and including `/v1`; for `azure` the resource, `https://NAME.openai.azure.com`,
    or that with `/openai/v1`. Not part of the release: an environment's own business."""
    api_version: str | None = None
    """`azure`: the `api-version` to ask for; by default one that is known to work."""
    api_key: SecretRef | None = None
    """Where the endpoint's key is: `{env: NAME}` or `{file: path}`."""
    max_ctx: Annotated[int, Field(ge=256)] = 2048
    """Tokens of prompt and answer together."""
    max_out: Annotated[int, Field(ge=1)] = 256
    """Tokens of an answer at most."""
    threads: Annotated[int, Field(ge=1)] | None = None
    """Threads of an embedded engine; by default the cores less one."""
    price: Price = Price()
    """What tokens cost; an environment's own business."""

    @model_validator(mode="after")
    def _remote_needs_address(self) -> Self:
        if self.engine not in _STARTED_HERE and self.base_url is None:
            raise ValueError(f"engine {self.engine!r} needs base_url")
        if self.base_url is not None and not _ADDRESS.match(self.base_url):
            raise ValueError(f"base_url {self.base_url!r} is not an address like http://host:8000/v1")
        if self.api_version is not None and self.engine != "azure":
            raise ValueError(f"api_version is Azure's; engine {self.engine!r} has none")
        return self


class Decoding(Section):
    """How tokens are chosen."""

    temperature: Annotated[float, Field(ge=0, le=2)] = 0.8
    """0 always takes the likeliest token."""
    top_p: Annotated[float, Field(gt=0, le=1)] = 0.9
    """Tokens are drawn from the likeliest that together have this probability."""
    rep_penalty: Annotated[float, Field(ge=0.5, le=2)] = 1.1
    """Above 1 makes repetition less likely."""
    stop: tuple[str, ...] = ()
    """Texts at which generation ends."""
    seed: int | None = None
    """Fixes the random draws of engines that can."""
