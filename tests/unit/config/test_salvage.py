"""One run reports wrong keys and values, broken references and, through what is left, what lies behind them."""

from pathlib import Path

import pytest

from shipway.config.loading import find_root, load_project, load_what_is_valid
from shipway.core.errors import ConfigError

APP = """\
app: shop
models:
  small: {engine: echo, model: echo}
routes:
  ask: {kind: chat, model: small}
"""


def look(root: Path, text: str):
    (root / "shipway.yaml").write_text(text)
    return load_what_is_valid(root, {})


def test_wrong_keys_wrong_values_and_broken_references_are_reported_in_one_run(tmp_path):
    loaded, problems = look(
        tmp_path,
        APP.replace("model: small", "model: smal") + "budgets: {max_nwe: 5}\nevals: {repeats: x, route: other}\n",
    )

    assert problems == [
        "shipway.yaml:6: budgets.max_nwe: unknown key; did you mean 'max_new'?",
        'shipway.yaml:7: evals.repeats: must be a whole number, not "x"',
        "shipway.yaml:5: routes.ask.model: 'smal' is not in models (it has small)",
        "shipway.yaml:7: evals.route: 'other' is not in routes (it has ask)",
    ]
    assert loaded is not None
    assert loaded.project.budgets.max_new == 5


def test_a_misspelt_section_does_not_make_every_mention_of_its_entries_look_wrong(tmp_path):
    _, problems = look(tmp_path, APP.replace("models:", "modles:"))

    assert problems == ["shipway.yaml:2: modles: unknown key; did you mean 'models'?"]


def test_the_lines_of_a_section_whose_name_was_corrected_are_kept(tmp_path):
    _, problems = look(tmp_path, APP.replace("models:", "modles:").replace("model: echo}", "model: echo, threads: 0}"))

    assert problems == [
        "shipway.yaml:2: modles: unknown key; did you mean 'models'?",
        "shipway.yaml:3: models.small.threads: must be at least 1, not 0",
    ]


@pytest.mark.parametrize(
    ("before", "after", "problem"),
    [
        ("model: small", "modell: [small]", "routes.ask.modell: unknown key; did you mean 'model'?"),
        ("engine: echo, ", "", "models.small.engine: required key is missing"),
        ("{engine: echo, model: echo}", "7", "models.small: must be a mapping, not 7"),
    ],
)
def test_what_follows_from_a_mistake_is_not_reported_as_another_one(tmp_path, before, after, problem):
    loaded, problems = look(tmp_path, APP.replace(before, after))

    assert problem in problems[0]
    assert not any("is not in models" in line or "needs model" in line for line in problems)
    assert loaded is None


def test_a_project_file_with_problems_is_never_loaded_and_the_next_step_is_named(tmp_path):
    (tmp_path / "shipway.yaml").write_text(APP + "zzz: 1\n")

    with pytest.raises(ConfigError) as refused:
        load_project(tmp_path, {})

    assert "shipway config schema" in refused.value.hint


def test_a_project_file_that_is_a_folder_or_a_link_to_nothing_is_called_that(tmp_path):
    from_folder, from_link = tmp_path / "a", tmp_path / "b"
    (from_folder / "shipway.yaml").mkdir(parents=True)
    from_link.mkdir()
    (from_link / "shipway.yaml").symlink_to("gone.yaml")

    with pytest.raises(ConfigError, match=r"shipway\.yaml is a folder"):
        find_root(from_folder)
    with pytest.raises(ConfigError, match=r"is a link to gone\.yaml, which is not there"):
        find_root(from_link)


@pytest.mark.parametrize("host", ["256.1.1.1", "no host", "-a", "a..b", "http://x", ""])
def test_a_host_that_cannot_be_one_is_refused(tmp_path, host):
    _, problems = look(tmp_path, APP + f"server: {{host: {host!r}}}\n")

    assert problems == [
        (
            f"shipway.yaml:6: server.host: {host!r} is no IP address and no host name;"
            " write one such as 127.0.0.1 or 0.0.0.0"
        )
    ]


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "0.0.0.0", "localhost", "app-1.internal"])  # noqa: S104
def test_a_host_that_can_be_one_is_taken(tmp_path, host):
    assert look(tmp_path, APP + f"server: {{host: {host!r}}}\n")[1] == []
