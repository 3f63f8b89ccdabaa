import pytest

APP = """\
app: shop
models:
  small: {engine: echo, model: echo}
routes:
  ask:
    kind: chat
    model: small
"""


def test_an_unknown_key_suggests_the_one_that_was_meant(problems):
    assert problems(APP + "rates:\n  per_key_mn: 5\n") == [
        "shipway.yaml:9: rates.per_key_mn: unknown key; did you mean 'per_key_min'?"
    ]


def test_an_unknown_key_that_resembles_nothing_lists_what_is_known(problems):
    (problem,) = problems(APP + "budgets: {zzz: 1}\n")

    known = "daily_usd, key_daily_usd, key_monthly_usd, max_new, max_prompt, monthly_usd"
    assert problem == f"shipway.yaml:8: budgets.zzz: unknown key; known here: {known}"


def test_a_misspelt_section_is_found_at_the_top_level(problems):
    assert problems(APP + "gaets: []\n") == ["shipway.yaml:8: gaets: unknown key; did you mean 'gates'?"]


def test_a_misspelt_key_in_an_overlay_names_the_overlay(problems):
    assert problems(APP, local="# here\nserver:\n  wrokers: 2\n") == [
        "configs/local.yaml:3: server.wrokers: unknown key; did you mean 'workers'?"
    ]


def test_a_misspelt_key_below_a_name_of_the_users_is_found(problems):
    assert problems(APP.replace("    model: small", "    modle: small\n    model: small")) == [
        "shipway.yaml:7: routes.ask.modle: unknown key; did you mean 'model'?"
    ]


def test_a_misspelt_key_in_a_list_is_found(problems):
    text = APP + "gates:\n  - {metric: a, min: 1}\n  - metric: b\n    min: 1\n    alhpa: 0.1\n"

    assert problems(text) == ["shipway.yaml:12: gates[1].alhpa: unknown key; did you mean 'alpha'?"]


def test_a_misspelt_key_below_an_optional_section_is_found(problems):
    text = APP + "corpus:\n  sources:\n    - {path: a, tenant: t, groups: [g], tennant: t}\n"

    assert problems(text) == ["shipway.yaml:10: corpus.sources[0].tennant: unknown key; did you mean 'tenant'?"]


def test_every_problem_is_reported_at_once(problems):
    found = problems("app: Shop\nrotes: {}\nserver: {port: high}\n")

    assert len(found) == 4
    assert "shipway.yaml: routes: required key is missing" in found


def test_a_missing_key_is_reported_where_its_mapping_begins(problems):
    assert problems(APP.replace("    kind: chat\n", "")) == ["shipway.yaml:5: routes.ask.kind: required key is missing"]


def test_an_empty_file_misses_what_every_project_needs(problems):
    assert problems("") == [
        "shipway.yaml: app: required key is missing",
        "shipway.yaml: routes: required key is missing",
    ]


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("server: {port: high}", 'server.port: must be a whole number, not "high"'),
        ("server: {port: 80.5}", "server.port: must be a whole number, not 80.5"),
        ("server: {port: 70000}", "server.port: must be at most 65535, not 70000"),
        ("server: {port: null}", "server.port: must be a whole number, not null"),
        ("server: {port: [80]}", "server.port: must be a whole number, not a list"),
        ("server: {port: {a: 1}}", "server.port: must be a whole number, not a mapping"),
        ("server: {drain_s: .inf}", "server.drain_s: must be a finite number, not Infinity"),
        ("server: {drain_s: soon}", 'server.drain_s: must be a number, not "soon"'),
        ("server: 8080", "server: must be a mapping, not 8080"),
        ("decoding: {stop: end}", 'decoding.stop: must be a list, not "end"'),
        ("decoding: {stop: [1]}", "decoding.stop[0]: must be text (put it in quotes), not 1"),
        ("decoding: {top_p: 0}", "decoding.top_p: must be greater than 0, not 0"),
        ("safety: {citation_required_rag: perhaps}", "safety.citation_required_rag: must be true or false, not"),
        ("prompts: [a]", "prompts: must be a mapping, not a list"),
        ("prompts: {Answer Me: a.yaml}", "prompts['Answer Me']: the key must be a name of lower-case letters"),
        ("evals: {split: exam}", """evals.split: must be 'all', 'calibration' or 'test', not "exam\""""),
        ("gates: [{metric: a, non_regression: some}]", "gates[0].non_regression: must be a number or 'auto', not"),
        (
            "gates: [{metric: a, non_regression: {a: 1}}]",
            "gates[0].non_regression: must be a number or 'auto', not a m",
        ),
        ("gates: [{metric: a, min: 1, max: 2}]", "gates[0]: give exactly one of min, max"),
        ("gates: [{metric: a, min: yes please}]", 'gates[0].min: must be a number, not "yes please"'),
    ],
)
def test_a_wrong_value_says_what_must_stand_there_and_what_was_found(problems, line, problem):
    (found,) = problems(APP + line + "\n")

    assert found.startswith(f"shipway.yaml:8: {problem}")


def test_a_long_value_is_cut(problems):
    (found,) = problems(APP + f"server: {{port: {'x' * 5000}}}\n")

    assert len(found) < 150


def test_a_wrong_engine_lists_the_engines(problems):
    (found,) = problems(APP.replace("engine: echo", "engine: bedrock"))

    assert found == (
        "shipway.yaml:3: models.small.engine: must be 'llamacpp', 'echo', 'openai', 'azure', 'vllm', "
        "'llamacpp-server', 'sglang', 'ollama' or 'trtllm', not \"bedrock\""
    )


@pytest.mark.parametrize("kind", ["openai", "azure", "vllm", "llamacpp-server", "sglang", "ollama", "trtllm"])
def test_an_engine_that_runs_elsewhere_needs_its_address(problems, kind):
    (found,) = problems(APP.replace("engine: echo", f"engine: {kind}"))

    assert found == f"shipway.yaml:3: models.small: engine {kind!r} needs base_url"


def test_an_api_version_is_azures_alone(problems):
    (found,) = problems(APP.replace("engine: echo", "engine: echo, api_version: '1'"))

    assert found == "shipway.yaml:3: models.small: api_version is Azure's; engine 'echo' has none"


def test_a_reference_to_nothing_is_reported_at_its_own_line(problems):
    text = APP + "  two:\n    kind: rag\n    model: large\n    prompt: answer\n"

    assert problems(text) == [
        "shipway.yaml:10: routes.two.model: 'large' is not in models (it has small)",
        "shipway.yaml:11: routes.two.prompt: 'answer' is not in prompts (it is empty)",
        "shipway.yaml:9: routes.two.kind: a route of kind rag needs a corpus section",
    ]


def test_a_stage_that_needs_an_unknown_one_is_reported_at_its_own_line(problems):
    text = (
        APP
        + "pipeline:\n  build: {uses: release}\n  gate:\n    uses: evaluate\n    needs:\n      - build\n      - tests\n"
    )

    assert problems(text) == [
        "shipway.yaml:14: pipeline.gate.needs[1]: 'tests' is not in pipeline (it has build, gate)"
    ]


def test_an_incomplete_route_says_what_its_kind_needs(problems):
    assert problems("app: a\nroutes:\n  ask: {kind: http}\n") == [
        "shipway.yaml:3: routes.ask: a route of kind http needs exactly one of command, url"
    ]


def test_an_app_without_routes_is_refused(problems):
    assert problems("app: a\nroutes: {}\n") == ["shipway.yaml:2: routes: an app needs at least one route"]


def test_a_route_to_evaluate_that_does_not_exist_is_named_with_those_that_do(problems):
    found = problems(
        "app: shop\nmodels: {small: {engine: echo, model: echo}}\nroutes: {ask: {kind: chat, model: small}}\n"
        "evals:\n  route: answer\n"
    )

    assert found == ["shipway.yaml:5: evals.route: 'answer' is not in routes (it has ask)"]


def test_a_list_that_needs_an_entry_is_told_in_words(problems):
    assert problems(APP + "rollout:\n  steps: []\n") == [
        "shipway.yaml:9: rollout.steps: the list has no entries; it needs 1 at least"
    ]


def test_entries_that_are_wrong_do_not_make_their_list_too_short(problems):
    text = APP + "rollout:\n  steps:\n    - {weight: 2}\n    - {weight: x}\n"

    assert problems(text) == [
        "shipway.yaml:10: rollout.steps[0].weight: must be at most 1, not 2",
        'shipway.yaml:11: rollout.steps[1].weight: must be a number, not "x"',
    ]
