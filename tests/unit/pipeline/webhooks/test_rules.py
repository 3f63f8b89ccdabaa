"""Which run a change starts."""

import pytest

from shipway.config.sections.webhooks import DEFAULT_RULES, RunOptions, WebhookRule
from shipway.pipeline.webhooks.model import Change, Ignored
from shipway.pipeline.webhooks.rules import rule_for, run_arguments

COMMIT = "a" * 40


def pushed(name: str) -> Change:
    return Change("github", "push", name, f"refs/heads/{name}", COMMIT)


def tagged(name: str) -> Change:
    return Change("github", "tag", name, f"refs/tags/{name}", COMMIT)


def pull(name: str, target: str) -> Change:
    return Change("github", "pull_request", name, "refs/pull/1/head", COMMIT, target)


@pytest.mark.parametrize(("name", "tier"), [("main", None), ("develop", None), ("feature/a/b", "pr")])
def test_by_default_main_develop_and_feature_branches_run(name, tier):
    found = rule_for(pushed(name), DEFAULT_RULES)

    assert isinstance(found, WebhookRule)
    assert found.tier == tier


@pytest.mark.parametrize("change", [pushed("release/1"), pushed("Main"), tagged("main"), pull("feature/a", "main")])
def test_by_default_nothing_else_runs(change):
    found = rule_for(change, DEFAULT_RULES)

    assert isinstance(found, Ignored)
    assert "no rule" in found.reason


def test_the_first_rule_that_matches_decides():
    rules = (WebhookRule(branch="feature/secret*", ignore=True), WebhookRule(branch="*", tier="full"))

    assert rule_for(pushed("feature/secret-1"), rules) == Ignored("a rule ignores branch feature/secret-1")
    assert rule_for(pushed("feature/open"), rules) == rules[1]


def test_of_a_pull_request_the_target_is_looked_at():
    rules = (WebhookRule(branch="main", events=("pull_request",)),)

    assert rule_for(pull("feature/a", "main"), rules) == rules[0]
    assert isinstance(rule_for(pull("main", "develop"), rules), Ignored)
    assert isinstance(rule_for(pushed("main"), rules), Ignored)


def test_what_is_ignored_is_ignored_whatever_happened_to_it():
    rules = (WebhookRule(branch="main", ignore=True), WebhookRule(branch="*", events=("pull_request",)))

    assert rule_for(pull("feature/a", "main"), rules) == Ignored("a rule ignores branch main")


def test_a_tag_needs_a_rule_of_tags():
    rules = (WebhookRule(branch="*"), WebhookRule(tag="v*"))

    assert rule_for(tagged("v1"), rules) == rules[1]
    assert isinstance(rule_for(tagged("w1"), rules), Ignored)


def test_options_are_those_of_the_command_each_in_one_argument():
    options = RunOptions.model_validate({"from": "eval", "jobs": 2, "fail_fast": True, "no_cache": True})
    rule = WebhookRule(branch="main", tier="full", options=options)

    assert run_arguments(rule) == ("--tier=full", "--from=eval", "--jobs=2", "--fail-fast", "--no-cache")
    assert run_arguments(WebhookRule(branch="main")) == ()
