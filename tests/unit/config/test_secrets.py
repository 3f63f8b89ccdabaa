import pytest

from shipway.config.secrets import resolve_secret
from shipway.config.sections.secrets import SecretRef
from shipway.core.errors import ConfigError


def test_a_secret_is_read_from_its_variable(tmp_path):
    assert resolve_secret(SecretRef(env="K"), root=tmp_path, environ={"K": "s3cret"}) == "s3cret"


def test_a_secret_is_read_from_its_file_less_one_line_end(tmp_path):
    (tmp_path / "k").write_text("s3cret\n\n")

    assert resolve_secret(SecretRef(file="k"), root=tmp_path, environ={}) == "s3cret\n"


@pytest.mark.parametrize("environ", [{}, {"K": ""}, {"K": "  \n"}])
def test_a_variable_that_is_not_set_or_blank_is_named(tmp_path, environ):
    with pytest.raises(ConfigError, match="environment variable K: the secret is not set or empty"):
        resolve_secret(SecretRef(env="K"), root=tmp_path, environ=environ)


def test_a_file_that_is_missing_is_named(tmp_path):
    with pytest.raises(ConfigError, match="run/key: cannot read the secret: No such file or directory"):
        resolve_secret(SecretRef(file="run/key"), root=tmp_path, environ={})


def test_a_file_that_is_not_text_is_refused_without_its_content(tmp_path):
    (tmp_path / "k").write_bytes(b"hunter2\xff")

    with pytest.raises(ConfigError, match="k: byte 7 of the secret is not UTF-8") as caught:
        resolve_secret(SecretRef(file="k"), root=tmp_path, environ={})

    assert caught.value.__cause__ is None
    assert "hunter2" not in str(caught.value)
