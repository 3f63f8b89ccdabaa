"""`logging` and `telemetry`: what is written about each request, and where it goes. An environment's own business."""

from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator

from shipway.config.sections.secrets import SecretRef
from shipway.config.sections.section import Section

_LEAST_FILE_BYTES = 10_000


class Logging(Section):
    """What log lines hold, and how much of them is kept."""

    level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    """Lines below this level are not written; request lines are written at every level."""
    requests: bool = True
    """One line for each request; without them requests are still in the record store."""
    question: Literal["hash", "mask", "restricted", "omit"] = "hash"
    """A question in a request's line: `hash` a keyed hash, `mask` its text with personal data masked, `restricted` the
    hash, with the text in `.shipway/restricted/` that only its owner may read, `omit` nothing."""
    max_file_bytes: Annotated[int, Field(ge=0)] = 50_000_000
    """A process's log in `.shipway/logs` that is larger is put away within a second; 0: none ever is."""
    kept_files: Annotated[int, Field(ge=0, le=1000)] = 3
    """Logs of each process that are kept when they were put away, `NAME.log.1` the newest."""

    @field_validator("max_file_bytes")
    @classmethod
    def _is_worth_a_file(cls, value: int) -> int:
        if 0 < value < _LEAST_FILE_BYTES:
            raise ValueError(f"{value} bytes are some lines; give at least {_LEAST_FILE_BYTES}, or 0 for no limit")
        return value


class Traces(Section):
    """OpenTelemetry traces of requests."""

    exporter: Literal["none", "file", "otlp"] = "none"
    """`otlp` sends them to `endpoint`, `file` appends OTLP JSON lines below `.shipway/traces/`."""
    endpoint: str | None = None
    """exporter otlp: the full address, such as `http://127.0.0.1:4318/v1/traces`."""
    headers: dict[str, SecretRef] = Field(default_factory=dict)
    """exporter otlp: headers sent along, such as an API key, each `{env: NAME}` or `{file: path}`."""
    ratio: Annotated[float, Field(ge=0, le=1)] = 0.01
    """The share of requests that is traced when the caller has not decided it in `traceparent`."""
    trust_caller: bool = True
    """A caller's `traceparent` decides whether its request is traced; false: `ratio` decides for all."""
    conventions: Literal["1.41", "latest"] = "1.41"
    """The version of the GenAI semantic conventions whose attribute names are used."""

    @field_validator("endpoint")
    @classmethod
    def _is_address(cls, value: str | None) -> str | None:
        if value is not None:
            parts = urlsplit(value)
            if parts.scheme not in {"http", "https"} or not parts.hostname:
                raise ValueError(f"{value!r} is no http or https address; write http://host:4318/v1/traces")
            if parts.path in {"", "/"}:
                raise ValueError(f"{value!r} has no path; OTLP over HTTP listens on {value.rstrip('/')}/v1/traces")
        return value

    @model_validator(mode="after")
    def _target_fits(self) -> Self:
        if self.exporter == "otlp" and self.endpoint is None:
            raise ValueError("exporter otlp needs endpoint, such as http://127.0.0.1:4318/v1/traces")
        if self.exporter != "otlp" and (self.endpoint or self.headers):
            raise ValueError(f"endpoint and headers need exporter otlp, not {self.exporter}")
        return self


class Telemetry(Section):
    """Metrics and traces."""

    metrics_public: bool = False
    """`GET /metrics` of the gateway needs no key; false: a key with the role `operate`."""
    traces: Traces = Traces()
    """OpenTelemetry traces of requests."""
