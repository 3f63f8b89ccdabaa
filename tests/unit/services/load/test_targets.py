"""Whom a load test may ask, and where its key comes from."""

import pytest

from shipway.config.sections.secrets import SecretRef
from shipway.core.errors import ConfigError, ForbiddenError, UsageError
from shipway.services.load.targets import is_loopback, key_of, require_allowed, secret_named, server_of


@pytest.mark.parametrize("url", ["http://127.0.0.1:8000", "http://localhost/v1", "http://[::1]:9", "http://127.9.9.9"])
def test_this_machine_may_be_asked(url):
    require_allowed(url, ())


@pytest.mark.parametrize(
    "url",
    [
        "http://10.0.0.1",
        "https://api.example.com/v1",
        "http://127.0.0.1.example.com",
        "http://localhost.example.com",
        "http://0.0.0.0:8000",
        "http://169.254.169.254",
    ],
)
def test_any_other_host_is_refused_until_it_is_named(url):
    with pytest.raises(ForbiddenError, match="--allow-host"):
        require_allowed(url, ("other.example.com",))


def test_a_named_host_may_be_asked_whatever_its_case():
    require_allowed("https://API.example.com/v1", ("api.Example.com",))


def test_no_name_is_looked_up_to_find_out_whether_it_is_this_machine():
    assert [is_loopback(host) for host in ("localhost", "127.1.2.3", "::1", "mymachine", "")] == [
        True,
        True,
        True,
        False,
        False,
    ]


@pytest.mark.parametrize(
    "address", ["http://h:1", "http://h:1/", "http://h:1/v1", "http://h:1/v1/", "http://h:1/v1/chat/completions"]
)
def test_an_address_may_end_at_the_host_at_v1_or_be_whole(address):
    assert server_of(address) == "http://h:1"


@pytest.mark.parametrize("address", ["h:1", "ftp://h", "http://user:secret@h"])
def test_what_is_no_address_is_refused(address):
    with pytest.raises(UsageError):
        server_of(address)


def test_a_key_is_named_and_read_from_where_it_is(tmp_path):
    (tmp_path / "key").write_text("from-file\n")

    assert key_of(secret_named("env:K"), tmp_path, {"K": "from-env"}) == "from-env"
    assert key_of(secret_named("file:key"), tmp_path, {}) == "from-file"
    assert key_of(None, tmp_path, {}) == ""


def test_a_key_in_clear_text_is_refused_and_not_repeated():
    for text in ("swk_abcdefghijklmnop", "sk-123", "env:", "file:"):
        with pytest.raises(UsageError) as caught:
            secret_named(text)
        assert "swk_" not in str(caught.value)
        assert "123" not in str(caught.value)


def test_a_key_that_is_not_there_is_an_error(tmp_path):
    with pytest.raises(ConfigError, match="K"):
        key_of(SecretRef(env="K"), tmp_path, {})
