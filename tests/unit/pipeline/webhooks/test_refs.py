"""Names and ids from strangers: what git takes, and nothing that a program could read as an option."""

import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shipway.pipeline.webhooks.refs import is_commit, is_name, is_nothing

TRICKY = st.text(st.sampled_from("ab/.-@{}~^: ?*[\\\x7f\tlock\n"), max_size=12)


def git_takes(name: str) -> bool:
    done = subprocess.run(["git", "check-ref-format", f"refs/heads/{name}"], check=False)
    return done.returncode == 0


@pytest.mark.parametrize("name", ["main", "feature/a", "a-b", "v1.2", "ünï", "a/b/c", "x@y", "{", "a.lock.b"])
def test_a_usual_name_is_taken(name):
    assert is_name(name)
    assert git_takes(name)


@pytest.mark.parametrize(
    "name",
    [
        *["", "-", "--upload-pack=x", "-x/y", "a..b", "../a", "a/../b", "/a", "a/", "a//b", ".a", "a/.b", "a.", "@"],
        *["a.lock", "a.lock/b", "a b", "a\nb", "a\0b", "a~1", "a^", "a:b", "a?", "a*", "a[", "a\\b", "a@{0}", "HEAD"],
        *["a" * 256, "\ud800", "$(touch x)\n", "a\x7f"],
    ],
)
def test_a_name_that_is_none_or_could_be_an_option_is_refused(name):
    assert not is_name(name)


@given(TRICKY)
def test_every_name_that_is_taken_is_one_for_git_too(name):
    if is_name(name):
        assert git_takes(name)
    elif "\0" not in name and not name.startswith("-") and name not in {"@", "HEAD"}:
        assert not git_takes(name)


@pytest.mark.parametrize("text", ["", "abc", "A" * 40, "g" * 40, "a" * 39, "a" * 41, "a" * 40 + "\n", "-" + "a" * 39])
def test_what_is_no_whole_id_is_no_commit(text):
    assert not is_commit(text)
    assert not is_nothing(text)


@pytest.mark.parametrize("digits", [40, 64])
def test_an_id_has_the_length_of_either_hash(digits):
    assert is_commit("a" * digits)
    assert not is_nothing("0" * (digits - 1) + "1")
    assert is_nothing("0" * digits)
