import pytest
from hypothesis import given
from hypothesis import strategies as st

from shipway.readiness.shell import commands, plain_argv


def counting(script, **options):
    return [str(item) for item in commands(script, **options) if item.counts]


@pytest.mark.parametrize(
    ("script", "found"),
    [
        ("ruff check .\npytest", ["ruff check .", "pytest"]),
        ("cd app && pytest -q", ["cd app", "pytest -q"]),
        ("pytest || true", []),
        ("pytest || exit 1", ["pytest"]),
        ("true || pytest", []),
        ("pytest | tee log", ["tee log"]),
        ("set -o pipefail\npytest | tee log", ["pytest", "tee log"]),
        ("set -euo pipefail\npytest | tee log", ["pytest", "tee log"]),
        ("set +e\npytest", []),
        ("pytest &", []),
        ("! pytest", []),
        ("if pytest; then echo ok; fi", []),
        ("if true; then\n  pytest\nfi\nruff check .", ["ruff check ."]),
        ("for x in a b; do pytest $x; done", []),
        ("echo pytest", ["echo pytest"]),
        ("echo 'a; pytest'", ["echo 'a; pytest'"]),
        ("# pytest", []),
        ("pytest # -q", ["pytest"]),
        ("pytest \\\n  -q", ["pytest -q"]),
        ("CI=1 A=b pytest", ["pytest"]),
        ("uv run --frozen pytest", ["pytest"]),
        ("poetry run pytest", ["pytest"]),
        ("python -m pytest -q", ["pytest -q"]),
        ("coverage run -m pytest", ["pytest"]),
        (".venv/bin/python -m pytest", ["pytest"]),
        (".venv/bin/pytest", ["pytest"]),
        ("python -m app", ["python -m app"]),
        ("./scripts/test.sh", ["./scripts/test.sh"]),
        ("(pytest)", []),
    ],
)
def test_a_command_counts_when_it_surely_runs_and_its_failure_is_noticed(script, found):
    assert counting(script) == found


def test_an_expression_of_a_ci_system_is_one_word():
    assert counting("shipway deploy ${{ needs.a.outputs.b }}") == ["shipway deploy _expression_"]


def test_without_errexit_only_the_last_command_decides():
    assert counting("pytest\necho done", strict=False) == ["echo done"]
    assert counting("set -e\npytest\necho done", strict=False) == ["pytest", "echo done"]


@pytest.mark.parametrize("script", ["cat <<EOF\npytest\nEOF", "echo 'open", 'pytest "'])
def test_what_cannot_be_read_is_told(script):
    with pytest.raises(ValueError, match=r"\w"):
        commands(script)


def test_commands_know_their_line():
    assert [item.line for item in commands("a\n\nb \\\n c\nd", 10)] == [10, 12, 14]


@given(st.text(st.sampled_from("pytest |&;()!#'\n\\<$"), max_size=60))
def test_any_script_is_read_or_refused(script):
    try:
        found = commands(script)
    except ValueError:
        return
    assert all(item.argv for item in found)


def test_nothing_but_wrappers_is_no_program():
    assert plain_argv(["A=1", "sudo"]) == ()
