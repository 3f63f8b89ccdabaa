"""The section of webhooks: secrets by reference, one repository that is safe to fetch from, rules in order."""

import pytest
from pydantic import ValidationError

from shipway.config.sections.webhooks import Webhooks

HUB = {"github": {"secret": {"env": "HOOK"}}}


def webhooks(repository: str = "https://github.com/acme/assistant.git", **more: object) -> Webhooks:
    return Webhooks.model_validate({"repository": repository, **HUB, **more})


@pytest.mark.parametrize(
    ("repository", "slug"),
    [
        ("https://github.com/acme/assistant.git", "acme/assistant"),
        ("https://github.com/acme/assistant", "acme/assistant"),
        ("ssh://git@gitlab.example/group/sub/assistant.git", "group/sub/assistant"),
        ("git@github.com:acme/assistant.git", "acme/assistant"),
        ("/srv/git/assistant.git", ""),
        ("../assistant", ""),
        ("file:///srv/git/assistant.git", ""),
        ("http://127.0.0.1:3000/acme/assistant.git", "acme/assistant"),
    ],
)
def test_owner_and_name_come_from_the_url(repository, slug):
    assert webhooks(repository).slug == slug
    assert webhooks(repository, name="x/y").slug == "x/y"


@pytest.mark.parametrize(
    "repository",
    [
        *["", " ", "-uupload", "--upload-pack=touch x", "ext::sh -c touch% x", "fd::3", "a\nb", "x::y"],
        *["http://github.com/acme/assistant.git", "git://github.com/acme/assistant", "ftp://example/x"],
    ],
)
def test_an_address_that_is_none_or_not_safe_is_refused(repository):
    with pytest.raises(ValidationError):
        webhooks(repository)


@pytest.mark.parametrize("folder", ["/etc", "..", "a/../../b", "~"])
def test_the_folder_stays_in_the_repository(folder):
    with pytest.raises(ValidationError, match="leaves the repository"):
        webhooks(folder=folder)


def test_a_receiver_without_any_secret_is_refused():
    with pytest.raises(ValidationError, match="give github or gitlab"):
        Webhooks.model_validate({"repository": "../x"})
    with pytest.raises(ValidationError, match="give signing_token"):
        Webhooks.model_validate({"repository": "../x", "gitlab": {}})


def test_a_secret_in_clear_text_is_refused_and_not_repeated():
    with pytest.raises(ValidationError) as caught:
        webhooks(github={"secret": "hunter2"})

    assert "clear text" in str(caught.value.errors()[0]["msg"])
    assert "hunter2" not in str(caught.value.errors()[0]["msg"])


def test_no_run_may_see_a_secret_of_the_receiver():
    with pytest.raises(ValidationError, match="HOOK holds a secret of the receiver"):
        webhooks(env=["REGISTRY_TOKEN", "HOOK"])


def test_a_token_goes_to_https_alone():
    with pytest.raises(ValidationError, match="https"):
        webhooks(github={"secret": {"env": "HOOK"}, "api_url": "http://api.example"})
    assert webhooks(github={"secret": {"env": "HOOK"}, "api_url": "http://127.0.0.1:1/"}).github


@pytest.mark.parametrize(
    "rule",
    [
        {},
        {"branch": "main", "tag": "v*"},
        {"branch": ""},
        {"branch": "main", "events": ["schedule"]},
        {"branch": "main", "tier": "huge"},
        {"branch": "main", "running": "kill"},
        {"branch": "main", "timeout_s": 0},
        {"branch": "main", "options": {"shell": "x"}},
    ],
)
def test_a_rule_that_says_nothing_or_too_much_is_refused(rule):
    with pytest.raises(ValidationError):
        webhooks(rules=[rule])


def test_rules_are_by_default_those_of_the_usual_branches():
    assert [(rule.branch, rule.tier, rule.events) for rule in webhooks().rules] == [
        ("main", None, ("push",)),
        ("develop", None, ("push",)),
        ("feature/*", "pr", ("push",)),
    ]
