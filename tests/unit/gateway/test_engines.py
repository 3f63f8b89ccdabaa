import pytest

from shipway.core.errors import UsageError
from shipway.gateway.engines import PROFILES, EngineKind, address_of

AZURE = "https://acme.openai.azure.com"


@pytest.mark.parametrize(
    ("kind", "health"),
    [
        (EngineKind.VLLM, "http://gpu:8000/health"),
        (EngineKind.SGLANG, "http://gpu:8000/health"),
        (EngineKind.LLAMACPP_SERVER, "http://gpu:8000/health"),
        (EngineKind.TRTLLM, "http://gpu:8000/health"),
        (EngineKind.OLLAMA, "http://gpu:8000/api/version"),
    ],
)
def test_an_engine_of_ones_own_is_probed_at_its_own_page_without_the_key(kind: EngineKind, health: str) -> None:
    found = address_of(kind, "http://gpu:8000/v1/", "m", api_key="sk-1")

    assert found.url("chat/completions") == "http://gpu:8000/v1/chat/completions"
    assert found.key == (("authorization", "Bearer sk-1"),)
    assert (found.health_url, found.probe_headers) == (health, ())
    assert found.models_url == "http://gpu:8000/v1/models"


def test_an_engine_behind_a_path_has_its_health_page_below_that_path() -> None:
    found = address_of(EngineKind.VLLM, "https://host/small/v1", "m")

    assert found.health_url == "https://host/small/health"
    assert found.url("rerank") == "https://host/small/v1/rerank"


def test_a_hosted_api_is_probed_by_its_model_list_with_the_key() -> None:
    found = address_of(EngineKind.OPENAI, "https://api.example.com/v1", "m", api_key="sk-1")

    assert found.health_url == found.models_url == "https://api.example.com/v1/models"
    assert found.probe_headers == (("authorization", "Bearer sk-1"),)


def test_azures_dated_api_has_deployment_and_version_in_the_address_and_its_own_key_header() -> None:
    found = address_of(EngineKind.AZURE, AZURE, "gpt 4o", api_key="k", api_version="2025-04-01-preview")

    url = f"{AZURE}/openai/deployments/gpt%204o/chat/completions?api-version=2025-04-01-preview"
    assert found.url("chat/completions") == url
    assert found.key == (("api-key", "k"),)
    assert found.models_url == f"{AZURE}/openai/models?api-version=2025-04-01-preview"


def test_azure_without_a_version_asks_for_the_one_that_is_known_to_work() -> None:
    assert address_of(EngineKind.AZURE, AZURE + "/openai/", "m").url("embeddings").endswith("?api-version=2024-10-21")


def test_azures_undated_api_takes_the_deployment_from_the_body() -> None:
    found = address_of(EngineKind.AZURE, AZURE + "/openai/v1/", "m", api_key="k")

    assert found.url("responses") == f"{AZURE}/openai/v1/responses"
    assert found.key == (("api-key", "k"),)


@pytest.mark.parametrize("url", ["gpu:8000", "ftp://gpu/v1", "http:///v1", "http://gpu/v1?api-version=1", ""])
def test_an_address_that_is_none_is_refused_with_what_to_write(url: str) -> None:
    with pytest.raises(UsageError):
        address_of(EngineKind.OPENAI, url, "m")


def test_every_kind_has_a_profile() -> None:
    assert set(PROFILES) == set(EngineKind)
