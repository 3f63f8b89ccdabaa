import hashlib
import re
import sys
from dataclasses import replace

import pytest

from shipway.core.errors import IntegrityError, NotFoundError, NotYetError, UnavailableError, UsageError
from shipway.services.models import (
    CATALOGUE,
    REQUIREMENTS,
    ModelEntry,
    check_is_llm,
    install,
    locate,
    locate_with_tokenizer,
)

CONTENT = b"weights"
ENTRY = ModelEntry(
    id="tiny",
    kind="llm",
    package="model_package_for_test",
    file="data/tiny.gguf",
    sha256=hashlib.sha256(CONTENT).hexdigest(),
    size_bytes=len(CONTENT),
    licence="Apache-2.0",
)


@pytest.fixture
def package(tmp_path, monkeypatch):
    folder = tmp_path / "model_package_for_test"
    (folder / "data").mkdir(parents=True)
    (folder / "__init__.py").write_text("raise RuntimeError('models are never imported')")
    (folder / "data/tiny.gguf").write_bytes(CONTENT)
    monkeypatch.syspath_prepend(str(tmp_path))
    return folder


def test_a_models_file_is_found_without_importing_its_package(package):
    assert locate("tiny", {"tiny": ENTRY}) == package / "data/tiny.gguf"
    assert "model_package_for_test" not in sys.modules


def test_a_file_with_other_content_is_refused(package):
    (package / "data/tiny.gguf").write_bytes(b"other")
    with pytest.raises(IntegrityError, match="sha256"):
        locate("tiny", {"tiny": ENTRY})


def test_a_file_that_changes_after_it_was_seen_is_hashed_again(package):
    locate("tiny", {"tiny": ENTRY})
    (package / "data/tiny.gguf").write_bytes(b"longer than before")
    with pytest.raises(IntegrityError):
        locate("tiny", {"tiny": ENTRY})


def test_a_file_seen_before_is_not_read_again(package):
    locate("tiny", {"tiny": ENTRY})
    path = package / "data/tiny.gguf"
    path.chmod(0)
    reads = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("shipway.services.models._sha256", lambda path: reads.append(path) or ENTRY.sha256)
        locate("tiny", {"tiny": ENTRY})
    assert reads == []


def test_a_note_about_another_hash_counts_for_nothing(package):
    locate("tiny", {"tiny": ENTRY})
    with pytest.raises(IntegrityError):
        locate("tiny", {"tiny": replace(ENTRY, sha256="0" * 64)})


def test_an_unknown_model_and_one_that_is_not_installed_are_told_apart():
    with pytest.raises(UsageError, match="smollm2-135m-instruct"):
        locate("gpt-9")
    with pytest.raises(NotFoundError, match="shipway models install"):
        locate("tiny", {"tiny": replace(ENTRY, package="surely_no_such_package")})


def test_every_model_has_its_tokenizer_and_a_licence():
    for entry in CATALOGUE.values():
        assert entry.licence
        if entry.kind in {"embedding", "reranker"}:
            assert CATALOGUE[entry.tokenizer].kind == "tokenizer"


def test_every_package_of_the_catalogue_is_pinned_by_hash():
    pins = re.findall(r"^([\w-]+)==[\d.]+ \\\n +--hash=sha256:[0-9a-f]{64}$", REQUIREMENTS.read_text(), re.MULTILINE)
    assert {pin.replace("-", "_") for pin in pins} == {entry.package for entry in CATALOGUE.values()}


@pytest.mark.anyio
async def test_installing_takes_no_dependencies_and_only_known_hashes():
    commands = []

    async def run(command):
        commands.append(command)
        return 1, "first\nno matching hash"

    with pytest.raises(UnavailableError, match="no matching hash"):
        await install(run=run)
    assert {"--no-deps", "--require-hashes", str(REQUIREMENTS)} <= set(commands[0])


@pytest.mark.anyio
async def test_a_source_without_verified_hashes_is_not_offered():
    with pytest.raises(NotYetError):
        await install("hub")


@pytest.mark.model
def test_the_installed_models_are_what_the_catalogue_says():
    for name, entry in CATALOGUE.items():
        assert locate(name).stat().st_size == entry.size_bytes


@pytest.mark.parametrize("model", ["smollm2-135m-instruct", "no-such-model"])
def test_a_model_that_does_not_embed_is_refused_with_those_that_do(model):
    with pytest.raises(UsageError, match=f"'{model}' is no embedding model\n  there are: minilm-l6-v2-int8"):
        locate_with_tokenizer(model, "embedding")


def test_a_model_that_does_not_generate_is_refused_with_those_that_do():
    with pytest.raises(UsageError, match=r"is a model of kind embedding, which .*\n  there are: smollm2"):
        check_is_llm("minilm-l6-v2-int8")


@pytest.mark.parametrize("model", ["smollm2-135m-instruct", "weights/own.gguf"])
def test_a_model_that_generates_or_is_a_file_of_the_project_is_accepted(model):
    check_is_llm(model)
