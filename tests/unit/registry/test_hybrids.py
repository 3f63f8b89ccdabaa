import pytest

from shipway.registry.hybrids import changed, contradictions, with_parts
from shipway.registry.model import PARTS, Provenance, Release, release_id

BY = Provenance("user:test", 0.0, message="hybrid")


def a_release(**changes):
    manifest = {
        "schema": 1,
        "app": "a",
        "code": {"files": {}},
        "prompts": {"answer": {"path": "answer.yaml", "digest": "sha256:2"}},
        "models": {"small": {"engine": "echo"}},
        "data": {"corpus": None},
        "policy": {"routes": {"ask": {"kind": "chat", "model": "small", "prompt": "answer"}}},
    } | changes
    return Release(release_id(manifest), manifest, Provenance("user:test", 0.0))


NEW_PROMPT = {"answer": {"path": "answer.yaml", "digest": "sha256:9"}}
NEW_MODELS = {"small": {"engine": "echo"}, "big": {"engine": "echo"}}


@pytest.mark.parametrize("part", PARTS)
def test_a_hybrid_has_the_part_of_the_other_and_everything_else_of_its_own(part):
    base, donor = a_release(), a_release(prompts=NEW_PROMPT, models=NEW_MODELS, data={"corpus": {"manifest": "m"}})

    found = with_parts(base, donor, [part], BY)

    key = PARTS[part]
    assert found.manifest[key] == donor.manifest[key]
    assert {name: found.manifest[name] for name in found.manifest if name != key} == {
        name: base.manifest[name] for name in base.manifest if name != key
    }
    assert found.id == release_id(found.manifest)


def test_swapping_all_that_differs_is_the_other_release_itself():
    base, donor = a_release(), a_release(prompts=NEW_PROMPT)

    assert with_parts(base, donor, ["prompt"], BY) is donor
    assert with_parts(base, donor, ["code"], BY) is base


def test_a_changed_release_leaves_its_origin_as_it_was():
    base = a_release()

    found = changed(base, lambda manifest: manifest["models"].update(NEW_MODELS), BY)

    assert found.manifest["models"] == NEW_MODELS
    assert base.manifest["models"] == {"small": {"engine": "echo"}}
    assert (found.id != base.id, found.provenance) == (True, BY)
    assert changed(base, lambda _manifest: None, BY) is base


def test_parts_that_do_not_fit_together_are_told():
    routes = {"ask": {"kind": "rag", "model": "big", "prompt": "short"}}

    assert contradictions(a_release().manifest) == []
    assert contradictions(a_release(policy={"routes": routes}, prompts={}).manifest) == [
        "route 'ask' asks for model 'big', and there is small",
        "route 'ask' asks for prompt 'short', and there is none",
        "route 'ask' answers from documents, and there is no corpus",
    ]


def test_a_route_without_model_and_prompt_asks_for_none():
    routes = {"own": {"kind": "http", "url": None}, "chat": {"kind": "chat", "model": "small", "prompt": None}}

    assert contradictions(a_release(policy={"routes": routes}).manifest) == []
