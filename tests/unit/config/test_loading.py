from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shipway.config.loading import find_root, flattened, load_project
from shipway.core.errors import ConfigError, NotFoundError

APP = """\
app: shop
models:
  small: {engine: echo, model: echo}
routes:
  ask:
    kind: chat
    model: small
"""


def test_a_minimal_project_loads_with_defaults_for_the_rest(load):
    loaded = load(APP)

    assert loaded.environment == "local"
    assert loaded.project.app == "shop"
    assert loaded.project.routes["ask"].model == "small"
    assert loaded.project.rates.per_key_min == 120


def test_the_project_is_found_from_a_folder_below_it(tmp_path):
    (tmp_path / "shipway.yaml").write_text(APP)
    below = tmp_path / "app" / "deep"
    below.mkdir(parents=True)

    assert find_root(below) == tmp_path


def test_a_folder_without_a_project_says_how_to_make_one(tmp_path):
    with pytest.raises(NotFoundError, match=r"no shipway.yaml in .*\n  run `shipway init`"):
        find_root(tmp_path)


def test_a_project_file_that_is_gone_is_not_found(tmp_path):
    with pytest.raises(NotFoundError, match=r"shipway\.yaml: no such file"):
        load_project(tmp_path, {})


class TestOverlays:
    def test_a_mapping_is_merged_and_what_it_leaves_out_stays(self, load):
        loaded = load(APP + "rates: {per_ip_min: 5, per_key_min: 6}\n", local="rates:\n  per_key_min: 7\n")

        assert (loaded.project.rates.per_ip_min, loaded.project.rates.per_key_min) == (5, 7)

    def test_a_list_is_replaced_as_a_whole(self, load):
        base = APP + "gates:\n  - {metric: a, min: 1}\n  - {metric: b, min: 1}\n"

        loaded = load(base, local="gates:\n  - {metric: c, max: 2}\n")

        assert [gate.metric for gate in loaded.project.gates] == ["c"]

    def test_null_removes_what_the_project_file_gives(self, load):
        base = APP + "corpus:\n  sources:\n    - {path: '*', tenant: t, groups: [g]}\n"

        assert load(base).project.corpus is not None
        assert load(base, local="corpus: null\n").project.corpus is None

    def test_an_empty_overlay_changes_nothing(self, load):
        assert load(APP, local="# nothing yet\n").project == load(APP).project

    def test_the_overlay_is_chosen_by_app_env(self, load):
        environ = {"APP_ENV": "production"}

        loaded = load(APP, environ=environ, local="app: wrong\n", production="server: {port: 8080}\n")

        assert (loaded.environment, loaded.project.app, loaded.project.server.port) == ("production", "shop", 8080)

    def test_an_environment_without_overlay_names_those_there_are(self, load):
        with pytest.raises(NotFoundError, match=r"no configs/prod\.yaml\n  environments here: local, staging"):
            load(APP, environ={"APP_ENV": "prod"}, staging="{}")

    @pytest.mark.parametrize("name", ["", "../secrets", "Production", "a b", "staging\n", "x" * 40])
    def test_a_name_that_is_no_environment_is_refused(self, problems, name):
        assert problems(APP, environ={"APP_ENV": name}) == [
            f"environment variable APP_ENV: {name!r} is not a name like staging"
        ]


class TestOrigins:
    def test_every_value_knows_the_line_that_gave_it(self, load):
        base = APP + "rates:\n  per_ip_min: 5\ngates:\n  - metric: a\n    min: 1\n"

        loaded = load(base, local="\nserver:\n  port: 81\n", environ={"SHIPWAY__BUDGETS": "{max_new: 7}"})

        assert str(loaded.origin(("rates", "per_ip_min"))) == "shipway.yaml:9"
        assert str(loaded.origin(("gates", 0, "min"))) == "shipway.yaml:12"
        assert str(loaded.origin(("server", "port"))) == "configs/local.yaml:3"
        assert str(loaded.origin(("budgets", "max_new"))) == "environment variable SHIPWAY__BUDGETS"

    def test_what_a_given_mapping_leaves_out_is_a_default(self, load):
        loaded = load(APP + "rates:\n  per_ip_min: 5\n")

        assert str(loaded.origin(("rates", "per_key_min"))) == "default"

    def test_a_replaced_list_has_the_places_of_the_overlay_alone(self, load):
        base = APP + "gates:\n  - {metric: a, min: 1}\n  - {metric: b, min: 1}\n"

        loaded = load(base, local="gates: [{metric: c, max: 2}]\n")

        assert str(loaded.origin(("gates", 0, "metric"))) == "configs/local.yaml:1"
        assert ("gates", 1, "metric") not in loaded.places

    def test_every_leaf_that_is_shown_has_an_origin_that_exists(self, load):
        loaded = load(APP + "decoding: {stop: [a, b]}\n")

        leaves = dict(flattened(loaded.project))

        assert leaves["decoding", "stop"] == ["a", "b"]
        assert str(loaded.origin(("decoding", "stop"))) == "shipway.yaml:8"
        assert str(loaded.origin(("routes", "ask", "kind"))) == "shipway.yaml:6"


class TestEnvironmentVariables:
    def test_a_variable_wins_over_both_files(self, load):
        environ = {"SHIPWAY__SERVER__PORT": "9000"}

        loaded = load(APP + "server: {port: 1}\n", local="server: {port: 2}\n", environ=environ)

        assert loaded.project.server.port == 9000

    def test_a_value_is_read_as_yaml(self, load):
        loaded = load(
            APP,
            environ={
                "SHIPWAY__DECODING__STOP": "[a, 'b: c']",
            },
        )

        assert loaded.project.decoding.stop == ("a", "b: c")

    def test_a_section_that_no_file_has_is_made(self, load):
        assert load(APP, environ={"SHIPWAY__ROLLOUT__ALPHA": "0.02"}).project.rollout.alpha == 0.02

    def test_an_unknown_key_names_the_variable(self, problems):
        assert problems(APP, environ={"SHIPWAY__SERVER__PROT": "1"}) == [
            "environment variable SHIPWAY__SERVER__PROT: server.prot: unknown key; did you mean 'port'?"
        ]

    def test_a_key_below_a_value_that_is_no_mapping_is_refused(self, problems):
        assert problems(APP, environ={"SHIPWAY__APP__NAME": "1"}) == [
            "environment variable SHIPWAY__APP__NAME: app is not a mapping, so it has no 'name'"
        ]

    @pytest.mark.parametrize("value", ["[1", "a: b: c", "&a [*a]", "!!int x", "\x00"])
    def test_a_value_that_is_no_yaml_names_the_variable(self, problems, value):
        (problem,) = problems(APP, environ={"SHIPWAY__APP": value})

        assert problem.startswith("environment variable SHIPWAY__APP:")

    def test_other_variables_are_left_alone(self, load):
        assert load(APP, environ={"SHIPWAY_HOME": "x", "PATH": ":"}).project.app == "shop"


@given(st.text(alphabet=st.characters(codec="utf-8")) | st.text("ab:-[]{}&*!#|>'\"<?, \n\t01~", max_size=60))
def test_any_text_is_a_project_or_a_configuration_error(tmp_path_factory, text):
    root: Path = tmp_path_factory.mktemp("any")
    (root / "shipway.yaml").write_bytes(text.encode())

    with pytest.raises((ConfigError, NotFoundError)):
        load_project(root, {})


_SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(alphabet=st.characters(codec="utf-8"), max_size=8)
)
_KEYS = st.sampled_from(
    [
        "app",
        "routes",
        "models",
        "ask",
        "kind",
        "model",
        "api_key",
        "env",
        "gates",
        "metric",
        "non_regression",
        "corpus",
        "sources",
        "price",
        "rollout",
        "steps",
        "weight",
        "pipeline",
        "needs",
        "run",
        "prompts",
        "server",
        "-",
        "Bad_Key",
    ]
)
_TREES = st.recursive(
    _SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_KEYS, inner, max_size=4),
    max_leaves=12,
)


@given(st.dictionaries(_KEYS, _TREES, max_size=5))
def test_any_tree_of_settings_is_a_project_or_a_configuration_error_with_whole_lines(tmp_path_factory, tree):
    root: Path = tmp_path_factory.mktemp("tree")
    (root / "shipway.yaml").write_text(_flow(tree), encoding="utf-8")

    found = _problems(root)

    assert all(line.startswith("shipway.yaml") for line in found)
    assert all("Input should" not in line and "[key]" not in line for line in found)


def _problems(root: Path) -> list[str]:
    try:
        load_project(root, {})
    except ConfigError as error:
        return error.problems
    return []


def _flow(value: object) -> str:
    match value:
        case dict():
            return "{" + ", ".join(f"{_flow(key)}: {_flow(item)}" for key, item in value.items()) + "}"
        case list():
            return "[" + ", ".join(_flow(item) for item in value) + "]"
        case None:
            return "null"
        case bool():
            return str(value).lower()
        case str():
            return '"' + "".join(f"\\U{ord(character):08x}" for character in value) + '"'
        case _:
            return {"nan": ".nan", "inf": ".inf", "-inf": "-.inf"}.get(str(value), str(value))


def test_a_value_is_looked_for_at_its_line_or_where_it_was_left_out(load):
    loaded = load(APP, environ={"SHIPWAY__EVALS__REPEATS": "2"})

    assert str(loaded.nearest_place(("routes", "ask", "kind"))) == "shipway.yaml:6"
    assert str(loaded.nearest_place(("routes", "ask", "health"))) == "shipway.yaml:5"
    assert str(loaded.nearest_place(("evals", "repeats"))) == "environment variable SHIPWAY__EVALS__REPEATS"
    assert str(loaded.nearest_place(("corpus", "root"))) == "shipway.yaml"
