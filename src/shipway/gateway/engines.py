"""The engines that speak OpenAI's API, and in what each departs from it: addresses, the key's header, health, models.

`services.runtimes` asks here once for each route when a release is loaded, the status pages and `shipway doctor` when
they look at an engine; nothing is decided while a request runs.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from urllib.parse import quote, urlsplit

from shipway.core.errors import UsageError

AZURE_API_VERSION = "2024-10-21"
"""The version asked of Azure's dated API when the project names none."""

_V1 = "/v1"


class EngineKind(StrEnum):
    """What stands behind a model alias; the value is `engine` in the project file."""

    LLAMACPP = "llamacpp"
    ECHO = "echo"
    OPENAI = "openai"
    AZURE = "azure"
    VLLM = "vllm"
    LLAMACPP_SERVER = "llamacpp-server"
    SGLANG = "sglang"
    OLLAMA = "ollama"
    TRTLLM = "trtllm"


@dataclass(frozen=True, slots=True)
class EngineProfile:
    """One kind's habits.

    `health_path` is relative to the server's root, None when the engine has no such page and its model list tells
    instead; `keyless` engines are probed without credentials. `key_header` is the header that carries the key.
    """

    health_path: str | None = None
    models_path: str = "/models"
    key_header: str = "authorization"


PROFILES: Mapping[EngineKind, EngineProfile] = MappingProxyType(
    {
        EngineKind.LLAMACPP: EngineProfile("/health"),
        EngineKind.ECHO: EngineProfile("/health"),
        EngineKind.OPENAI: EngineProfile(),
        EngineKind.AZURE: EngineProfile(key_header="api-key"),
        EngineKind.VLLM: EngineProfile("/health"),
        EngineKind.LLAMACPP_SERVER: EngineProfile("/health"),
        EngineKind.SGLANG: EngineProfile("/health"),
        EngineKind.OLLAMA: EngineProfile("/api/version"),
        EngineKind.TRTLLM: EngineProfile("/health"),
    }
)


@dataclass(frozen=True, slots=True)
class EngineAddress:
    """Where and how an engine is spoken to, ready for use.

    `base` and `query` stand around the endpoint: `base + "/chat/completions" + query`. `key` goes with every request,
    with a probe only when `probe_with_key`.
    """

    kind: EngineKind
    base: str
    query: str = ""
    key: tuple[tuple[str, str], ...] = ()
    health_url: str = ""
    models_url: str = ""
    probe_with_key: bool = False

    def url(self, endpoint: str) -> str:
        """Return the address of an endpoint, such as `chat/completions`."""
        return f"{self.base}/{endpoint}{self.query}"

    @property
    def probe_headers(self) -> tuple[tuple[str, str], ...]:
        """Return what goes with a probe of `health_url`."""
        return self.key if self.probe_with_key else ()


def address_of(
    kind: EngineKind, base_url: str, model: str, *, api_key: str | None = None, api_version: str | None = None
) -> EngineAddress:
    """Return the address of a model's engine.

    `base_url` ends where `/chat/completions` begins, usually with `/v1`. For Azure it is the resource
    (`https://NAME.openai.azure.com`): the deployment, which is `model`, and the version are put in here; with
    `/openai/v1` at its end it is Azure's undated API, which takes the deployment from the body.

    Raises:
        UsageError: it is no http address, or has a query.
    """
    profile = PROFILES[kind]
    base = base_url.rstrip("/")
    parts = urlsplit(base)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise UsageError(f"base_url {base_url!r} is not an http address", hint="write http://host:port/v1")
    if parts.query or parts.fragment:
        raise UsageError(f"base_url {base_url!r} has a query", hint="leave it out; Azure's version is api_version")
    key = (_key(profile.key_header, api_key),) if api_key else ()
    root = f"{parts.scheme}://{parts.netloc}"
    if kind is EngineKind.AZURE:
        return _azure(base, model, key, api_version)
    models = base + profile.models_path
    if profile.health_path is None:
        return EngineAddress(kind, base, key=key, health_url=models, models_url=models, probe_with_key=True)
    # An engine behind a path of a proxy has its health page below the same path.
    below = parts.path.removesuffix(_V1).rstrip("/")
    return EngineAddress(kind, base, key=key, health_url=root + below + profile.health_path, models_url=models)


def _azure(base: str, model: str, key: tuple[tuple[str, str], ...], api_version: str | None) -> EngineAddress:
    query = f"?api-version={quote(api_version, safe='')}" if api_version else ""
    if base.endswith("/openai" + _V1):
        models = f"{base}/models{query}"
        return EngineAddress(EngineKind.AZURE, base, query, key, models, models, probe_with_key=True)
    query = query or f"?api-version={AZURE_API_VERSION}"
    resource = base.removesuffix("/openai")
    models = f"{resource}/openai/models{query}"
    deployment = f"{resource}/openai/deployments/{quote(model, safe='')}"
    return EngineAddress(EngineKind.AZURE, deployment, query, key, models, models, probe_with_key=True)


def _key(header: str, secret: str) -> tuple[str, str]:
    return (header, f"Bearer {secret}") if header == "authorization" else (header, secret)
