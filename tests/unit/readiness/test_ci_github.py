import pytest

from shipway.core.errors import ConfigError
from shipway.readiness.ci_github import github_jobs
from shipway.readiness.ci_model import Event

PR, MAIN = Event.PULL_REQUEST, Event.MAIN


def jobs(on, job="    runs-on: x\n    steps: [{ run: pytest }]\n"):
    return list(github_jobs("ci.yml", f"on: {on}\njobs:\n  test:\n{job}"))


@pytest.mark.parametrize(
    ("on", "events"),
    [
        ("pull_request", {PR}),
        ("push", {MAIN}),
        ("[push, pull_request]", {PR, MAIN}),
        ("{ pull_request: { branches: [main] } }", {PR}),
        ("{ pull_request: { branches: [docs] } }", set()),
        ("{ pull_request: { types: [closed] } }", set()),
        ("{ pull_request: { paths: [docs/**] } }", set()),
        ("{ push: { branches: [main, 'v*'] } }", {MAIN}),
        ("{ pull_request: { paths-ignore: ['**.md'] } }", {PR}),
        ("{ pull_request: { paths-ignore: [src/**] } }", set()),
        ("{ push: { branches-ignore: [main] } }", set()),
        ("{ push: { tags: ['v*'] } }", set()),
        ("{ schedule: [{ cron: '0 0 * * *' }] }", set()),
        ("workflow_dispatch", set()),
        ("pull_request_target", set()),
    ],
)
def test_a_workflow_runs_at_the_events_that_it_names(on, events):
    (job,) = jobs(on)

    assert job.events == events


@pytest.mark.parametrize(
    ("condition", "events", "unclear"),
    [
        ("github.event_name == 'pull_request'", {PR}, False),
        ("${{ github.event_name != 'pull_request' }}", {MAIN}, False),
        ("github.ref == 'refs/heads/main'", {MAIN}, False),
        ("github.ref_name == 'docs' && github.event_name == 'push'", set(), False),
        ("always()", {PR, MAIN}, False),
        ("false", set(), False),
        ("inputs.really", set(), True),
        ("github.event_name == 'push' && inputs.really", set(), True),
    ],
)
def test_a_condition_narrows_when_a_job_runs(condition, events, unclear):
    (job,) = jobs(
        "[push, pull_request]", f"    if: {condition!r}\n    steps: [{{ run: pytest }}]\n".replace("\\'", "''")
    )

    assert (job.events, bool(job.unclear)) == (events, unclear)


def test_a_step_behind_a_condition_or_whose_failure_is_ignored_does_not_count():
    steps = ("{ run: one, if: false }", "{ run: two, continue-on-error: true }", "{ run: three }")
    (job,) = jobs("pull_request", f"    steps: [{', '.join(steps)}]\n")

    assert [str(command) for _, command in job.commands] == ["three"]


def test_a_job_whose_failure_is_ignored_runs_at_no_event():
    (job,) = jobs("pull_request", "    continue-on-error: true\n    steps: [{ run: pytest }]\n")

    assert job.events == set()


def test_commands_of_a_block_know_their_lines():
    (job,) = jobs("pull_request", "    steps:\n      - run: |\n          ruff check .\n          pytest\n")

    assert [where for where, _ in job.commands] == ["ci.yml:6", "ci.yml:7"]


def test_a_pipe_is_noticed_in_the_shell_that_looks_for_it():
    bash = "    steps:\n      - shell: bash\n        run: |\n          pytest | tee log\n"
    (careful,) = jobs("pull_request", bash)
    (careless,) = jobs("pull_request", bash.replace("      - shell: bash\n        run", "      - run"))

    assert [(where, command.counts) for where, command in careful.commands] == [("ci.yml:7", True), ("ci.yml:7", True)]
    assert [command.counts for _, command in careless.commands] == [False, True]


@pytest.mark.parametrize(
    "job",
    [
        "    uses: ./.github/workflows/other.yml\n",
        "    steps: [{ uses: ./.github/actions/test }]\n",
        "    steps: [{ run: pytest, shell: pwsh }]\n",
        "    steps: [{ run: pytest, working-directory: app }]\n",
        "    defaults: { run: { working-directory: app } }\n    steps: [{ run: pytest }]\n",
        "    steps:\n      - run: |\n          cat <<E\n          x\n          E\n",
    ],
)
def test_what_is_not_read_is_told(job):
    (found,) = jobs("pull_request", job)

    assert found.unclear
    assert not [command for _, command in found.commands if command.counts]


def test_actions_lose_their_version():
    (job,) = jobs("pull_request", "    steps:\n      - uses: docker/build-push-action@v6\n")

    assert job.actions == (("ci.yml:5", "docker/build-push-action"),)


def test_what_is_no_yaml_is_told():
    with pytest.raises(ConfigError, match=r"ci\.yml"):
        list(github_jobs("ci.yml", "on: ["))
