import pytest

from shipway.core.errors import ConfigError
from shipway.readiness.ci_gitlab import gitlab_jobs
from shipway.readiness.ci_model import Event

PR, MAIN = Event.PULL_REQUEST, Event.MAIN
MERGE = """{ if: '$CI_PIPELINE_SOURCE == "merge_request_event"' }"""
DEFAULT = "{ if: $CI_COMMIT_BRANCH == $CI_DEFAULT_BRANCH }"


def jobs(job, front=""):
    return list(gitlab_jobs(".gitlab-ci.yml", f"{front}test:\n  script: [pytest]\n{job}"))


@pytest.mark.parametrize(
    ("job", "events"),
    [
        ("", {PR, MAIN}),
        (f"  rules: [{MERGE}]\n", {PR}),
        (f"  rules: [{DEFAULT}]\n", {MAIN}),
        (f"  rules: [{MERGE}, {DEFAULT}]\n", {PR, MAIN}),
        ("""  rules: [{ if: '$CI_COMMIT_BRANCH == "main"' }]\n""", {MAIN}),
        ("""  rules: [{ if: '$CI_COMMIT_BRANCH == "docs"' }]\n""", set()),
        (f"  rules: [{DEFAULT[:-1]}, when: manual }}]\n", set()),
        (f"  rules: [{DEFAULT[:-1]}, when: never }}, {{ when: on_success }}]\n", {PR}),
        ("  rules: [{ when: never }]\n", set()),
        ("  rules: [{ changes: [docs/*] }]\n", set()),
        ("  rules: [{ if: $X, when: never }, { when: always }]\n", set()),
        ("  only: [merge_requests]\n", {PR}),
        ("  only: [main]\n", {MAIN}),
        ("  only: [tags]\n", set()),
        ("  except: [main]\n", set()),
        ("  allow_failure: true\n", set()),
        ("  when: manual\n", set()),
    ],
)
def test_a_job_runs_at_the_events_that_its_rules_surely_name(job, events):
    (found,) = jobs(job)

    assert found.events == events


def test_rules_of_the_whole_pipeline_narrow_every_job():
    (found,) = jobs("", f"workflow: {{ rules: [{MERGE}] }}\n")

    assert found.events == {PR}


def test_what_a_job_extends_counts_and_hidden_jobs_do_not_run():
    front = f".shared:\n  rules: [{MERGE}]\n  before_script: [ruff check .]\n"
    (found,) = jobs("  extends: .shared\n", front)

    assert found.events == {PR}
    assert [str(command) for _, command in found.commands] == ["ruff check .", "pytest"]


def test_the_default_script_before_runs_in_every_job():
    (found,) = jobs("", "default: { before_script: [pip install x] }\n")

    assert [str(command) for _, command in found.commands] == ["pip install x", "pytest"]


def test_included_files_are_told_as_not_read():
    found = jobs("", "include: [{ local: a.yml }]\n")

    assert found[0].unclear == ("includes other files",)


def test_a_tag_that_only_gitlab_knows_is_told():
    with pytest.raises(ConfigError, match="reference"):
        jobs("  rules: !reference [.a, rules]\n")


def test_a_script_that_is_not_read_is_told():
    (found,) = list(gitlab_jobs("g.yml", "a:\n  script:\n    - |\n      cat <<E\n      E\n"))

    assert found.unclear
