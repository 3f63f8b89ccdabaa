import pytest
from hypothesis import given
from hypothesis import strategies as st

from shipway.pipeline.tools.images import BUILDERS, ImageBuild, components_of, digest_of, image_tag
from shipway.pipeline.tools.model import UnreadableOutputError

DIGEST = "sha256:" + "a" * 64


def test_a_tag_says_commit_release_and_dataset():
    assert image_tag("0123456789abcdef", "rel_12ab", "sha256:fedcba9876543210") == "0123456789ab-rel_12ab-fedcba987654"
    assert image_tag("0123456789abcdef-dirty", "", "") == "0123456789ab-dirty"
    assert image_tag("", "", "") == ""


@given(st.text(max_size=60), st.text(max_size=200), st.text(max_size=60))
def test_any_names_make_a_tag_that_a_registry_takes_or_none(commit, release, dataset):
    tag = image_tag(commit, release, dataset)
    assert len(tag) <= 128
    assert all(character.isascii() and (character.isalnum() or character in "_.-") for character in tag)
    assert not tag.startswith(("-", "."))


@pytest.mark.parametrize("builder", BUILDERS)
def test_every_builder_gets_name_file_arguments_and_labels(builder):
    build = ImageBuild("r.test/a:t", "docker/Dockerfile", build_args={"A": "1"}, labels={"l": "2"}, push=True)
    argv = build.argv(builder)
    said = " ".join(argv)
    assert argv[0] == BUILDERS[builder]
    assert "r.test/a:t" in said
    assert "A=1" in said
    assert "l=2" in said
    assert "Dockerfile" in said


@pytest.mark.parametrize("builder", ["docker", "buildctl", "buildah"])
def test_secrets_are_handed_on_as_files_and_never_as_arguments(builder):
    argv = ImageBuild("r.test/a:t", secrets={"npm": "/run/x/0"}).argv(builder)
    assert "id=npm,src=/run/x/0" in argv


def test_without_push_nothing_leaves_the_machine():
    build = ImageBuild("r.test/a:t")
    assert "--push" not in build.argv("docker")
    assert "type=image,name=r.test/a:t,push=false" in build.argv("buildctl")
    assert "--no-push" in build.argv("kaniko")
    assert build.push_argv("buildah") == ()


def test_the_digest_is_that_of_the_builders_own_file():
    assert digest_of({"metadata.json": f'{{"containerimage.digest": "{DIGEST}"}}'.encode()}) == DIGEST
    assert digest_of({"digest": f"{DIGEST}\n".encode()}) == DIGEST
    assert digest_of({}) == ""


@pytest.mark.parametrize("files", [{"metadata.json": b"{}"}, {"metadata.json": b"x"}, {"digest": b"latest"}])
def test_what_is_no_digest_is_refused(files):
    with pytest.raises(UnreadableOutputError):
        digest_of(files)


def test_components_are_counted_and_another_document_is_refused():
    assert components_of(b'{"bomFormat": "CycloneDX", "components": [{}, {}]}') == 2
    for data in (b"", b"{}", b"[]"):
        with pytest.raises(UnreadableOutputError):
            components_of(data)
