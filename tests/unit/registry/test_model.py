from shipway.registry.model import PARTS, Provenance, Release, release_id

MANIFEST = {
    "schema": 1,
    "app": "a",
    "code": {"files": {}},
    "prompts": {},
    "models": {"m": {"max_ctx": 1}},
    "data": {},
    "policy": {},
}


def test_an_id_is_short_and_depends_on_every_part():
    ids = {release_id(MANIFEST)} | {release_id(MANIFEST | {key: {"changed": True}}) for key in PARTS.values()}

    assert len(ids) == len(PARTS) + 1
    assert all(len(found) == len("rel_") + 16 for found in ids)


def test_an_id_does_not_depend_on_the_order_of_keys():
    assert release_id(dict(reversed(MANIFEST.items()))) == release_id(MANIFEST)


def test_the_id_of_a_known_manifest_never_changes_between_versions():
    assert release_id(MANIFEST) == "rel_d79070d794f1d4c4"


def test_a_release_survives_its_json_form():
    release = Release(
        release_id(MANIFEST), MANIFEST, Provenance("u", 1.0, "c0ffee", dirty=True), ({"verdict": "PASS"},)
    )

    assert Release.from_dict(release.to_dict()) == release
    assert release.app == "a"
    assert set(release.part_digests()) == set(PARTS)
