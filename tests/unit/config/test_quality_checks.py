import pytest

from shipway.config.loading import load_project
from shipway.config.project import Project
from shipway.core.errors import ConfigError

BASE = """
app: shop
models: { here: { engine: echo, model: echo } }
routes:
  chat: { kind: chat, model: here }
  svc: { kind: http, url: "http://127.0.0.1:3" }
"""


@pytest.fixture
def loaded(tmp_path):
    def load(text: str) -> Project:
        (tmp_path / "shipway.yaml").write_text(BASE + text)
        return load_project(tmp_path, {}).project

    return load


def test_nothing_is_sampled_or_asked_by_default(loaded):
    quality = loaded("").quality
    assert (quality.sample, quality.goldens) == (0.0, None)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("quality: { routes: [nope] }", "'nope' is not in routes"),
        ("quality: { judge: nope }", "'nope' is not in judges"),
        ("quality: { goldens: { dataset: x, api_key: { env: K }, route: nope } }", "'nope' is not in routes"),
        ("quality: { routes: [svc] }", "'svc' is of kind http"),
        ("quality: { sample: 1.5 }", "quality.sample"),
        ("quality: { goldens: { dataset: x, api_key: clear } }", "clear text"),
        ("quality: { rules: { mean_run: 1 } }", "mean_run"),
    ],
)
def test_what_the_project_does_not_have_is_named_with_its_place(loaded, text, said):
    with pytest.raises(ConfigError, match=r"shipway\.yaml:") as refused:
        loaded(text)
    assert said in str(refused.value)


def test_the_only_route_is_asked_without_being_named(loaded):
    assert loaded("quality: { goldens: { dataset: x, api_key: { env: K } } }").quality.goldens is not None
