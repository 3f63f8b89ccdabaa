import pytest

from shipway.registry.difference import Change, difference
from shipway.registry.model import PARTS, Provenance, Release, release_id


def a_release(**changes: object) -> Release:
    manifest = {
        "schema": 1,
        "app": "a",
        "code": {"files": {"app/main.py": "sha256:1"}},
        "prompts": {"answer": {"path": "answer.yaml", "digest": "sha256:2"}},
        "models": {"small": {"engine": "echo", "max_out": 96}},
        "data": {"corpus": None},
        "policy": {"decoding": {"stop": ["a"]}},
    } | changes
    return Release(release_id(manifest), manifest, Provenance("user:test", 0.0))


CHANGED = {
    "code": {"files": {"app/main.py": "sha256:9"}},
    "prompts": {"answer": {"path": "answer.yaml", "digest": "sha256:9"}},
    "models": {"small": {"engine": "echo", "max_out": 128}},
    "data": {"corpus": {"manifest": "sha256:9", "documents": 1, "chunks": 1}},
    "policy": {"decoding": {"stop": ["a", "b"]}},
}


def test_a_release_does_not_differ_from_itself():
    found = difference(a_release(), a_release())

    assert (found.changes, found.parts, found.evaluation) == ((), (), "not needed")


@pytest.mark.parametrize(("part", "key"), PARTS.items())
def test_a_change_is_found_in_its_own_part(part, key):
    assert difference(a_release(), a_release(**{key: CHANGED[key]})).parts == (part,)


def test_a_change_names_the_value_before_and_after():
    found = difference(a_release(), a_release(models=CHANGED["models"]))

    assert found.changes == (Change("model", "small.max_out", 96, 128),)


def test_what_is_only_on_one_side_has_nothing_on_the_other():
    files = {"files": {"app/main.py": "sha256:1", "app/new.py": "sha256:3"}}

    assert difference(a_release(), a_release(code=files)).changes == (
        Change("code", "files.app/new.py", None, "sha256:3"),
    )
    assert difference(a_release(code=files), a_release()).changes == (
        Change("code", "files.app/new.py", "sha256:3", None),
    )


@pytest.mark.parametrize(
    ("keys", "needed"),
    [
        (["code"], "advised"),
        (["prompts"], "required"),
        (["models"], "required"),
        (["data"], "required"),
        (["policy"], "required"),
        (["code", "data"], "required"),
    ],
)
def test_what_can_change_answers_must_be_evaluated(keys, needed):
    assert difference(a_release(), a_release(**{key: CHANGED[key] for key in keys})).evaluation == needed
