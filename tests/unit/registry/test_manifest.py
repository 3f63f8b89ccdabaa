from typing import Any

import pytest

from shipway.config.project import Project
from shipway.registry.manifest import Ingredients, build_manifest
from shipway.registry.model import release_id

NOTHING = Ingredients(code={}, prompts={}, model_files={}, corpus=None)


def manifest(**routing: Any) -> dict[str, Any]:
    engine = {"engine": "openai", "model": "m", "base_url": "http://127.0.0.1:1/v1"}
    project = {
        "app": "shop",
        "models": {"small": engine, "large": engine},
        "routes": {"chat": {"kind": "chat", "model": "small"}},
        "routing": routing,
    }
    return build_manifest(Project.model_validate(project), NOTHING)


def test_without_routing_a_manifest_has_no_word_of_it():
    assert "routing" not in manifest()["policy"]


@pytest.mark.parametrize(
    "routing",
    [
        {"default": "large"},
        {"rules": [{"tenant": "a", "to": "large"}]},
        {"splits": {"mixed": {"small": 50, "large": 50}}},
        {"fallbacks": {"small": ["large"]}},
        {"escalate": {"small": {"to": "large"}}},
    ],
)
def test_what_decides_an_answer_changes_the_release(routing):
    assert release_id(manifest(**routing)) != release_id(manifest())


@pytest.mark.parametrize(
    "routing",
    [
        {"replicas": {"small": {"base_urls": ["http://127.0.0.1:2/v1"]}}},
        {"retries": {"attempts": 1}},
        {"hedging": {"on": True}},
    ],
)
def test_what_belongs_to_an_environment_does_not(routing):
    assert release_id(manifest(**routing)) == release_id(manifest())
