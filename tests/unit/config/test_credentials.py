import pytest

from shipway.config.credentials import credential_lines, is_credential, names_a_secret

# Put together here, so that no scanner of this repository takes a test for a leak.
SHAPES = {
    "openai": "sk-" + "proj-A1b2C3d4E5f6G7h8I9",
    "ours": "swk_" + "A1b2C3d4E5f6G7h8I9J0",
    "aws": "AKIA" + "ABCDEFGHIJ234567",
    "github": "ghp_" + "A1" * 18,
    "github fine-grained": "github_pat_" + "A1" * 15,
    "gitlab": "glpat-" + "A1b2C3d4E5f6G7h8I9J0",
    "slack": "xoxb-" + "123456789012-abcdef",
    "hugging face": "hf_" + "A1" * 12,
    "google": "AIza" + "A1" * 18,
    "stripe": "sk_live_" + "A1" * 10,
    "jwt": "eyJ" + "hbGciOiJIUzI1NiJ9." + "eyJ" + "zdWIiOiIxMjM0NTY3ODkwIn0.c2ln",
    "private key": "-----BEGIN RSA " + "PRIVATE KEY-----",
    "password in a url": "https://admin:" + "hunter2@engine.example/v1",
}
APP = "app: shop\nmodels:\n  small: {engine: echo, model: echo}\nroutes:\n  ask: {kind: chat, model: small}\n"
REMOTE = """\
app: shop
models:
  big:
    engine: openai
    model: big
    base_url: https://engine.example/v1
    api_key: %s
routes:
  ask: {kind: chat, model: big}
"""


@pytest.mark.parametrize("shape", SHAPES)
def test_a_credential_in_any_setting_is_refused_without_repeating_it(problems, shape):
    (problem,) = problems(APP + f'safety:\n  refusal: "ask {SHAPES[shape]}"\n')

    assert problem.startswith("shipway.yaml:7: safety.refusal: this looks like a credential in clear text; write {env:")
    assert SHAPES[shape] not in problem


def test_a_credential_that_stands_as_a_key_is_refused_without_repeating_it(problems):
    (problem,) = problems(APP + f"prompts:\n  {SHAPES['github']}: a.yaml\n")

    assert problem.startswith("shipway.yaml:6: prompts: this looks like a credential")
    assert SHAPES["github"] not in problem


def test_a_credential_in_an_overlay_or_a_variable_names_its_place(problems):
    (overlay,) = problems(APP, local=f"safety: {{refusal: {SHAPES['slack']}}}\n")
    (variable,) = problems(APP, environ={"SHIPWAY__SAFETY__REFUSAL": SHAPES["slack"]})

    assert overlay.startswith("configs/local.yaml:1: ")
    assert variable.startswith("environment variable SHIPWAY__SAFETY__REFUSAL: ")


@pytest.mark.parametrize(
    "value", ["hunter2", "12345678", "[hunter2]", "true", "{env: A, value: hunter2}", "{env: [hunter2]}"]
)
def test_a_secret_of_any_shape_in_clear_text_is_refused_without_repeating_it(problems, value):
    found = problems(REMOTE % value)

    assert all(problem.startswith("shipway.yaml:7: models.big.api_key") for problem in found)
    assert "hunter2" not in "\n".join(found)
    assert "12345678" not in "\n".join(found)


def test_a_secret_that_is_only_named_is_accepted(load):
    assert load(REMOTE % "{env: ENGINE_KEY}").project.models["big"].api_key.env == "ENGINE_KEY"


@pytest.mark.parametrize("value", ["{}", "{env: A, file: b}"])
def test_a_secret_must_be_named_exactly_once(problems, value):
    assert problems(REMOTE % value) == ["shipway.yaml:7: models.big.api_key: give exactly one of env, file"]


@pytest.mark.parametrize(
    "text",
    [
        "ask-questions-about-anything-here",
        "risk-" + "a" * 30,
        "https://engine.example:8080/v1",
        "a@b.example",
        "hf_short",
    ],
)
def test_ordinary_text_is_no_credential(text):
    assert not is_credential(text)


def test_keys_that_hold_secrets_are_told_by_their_name():
    assert names_a_secret(("models", "big", "api_key", "env"))
    assert names_a_secret(("db_password",))
    assert not names_a_secret(("rates", "per_key_min"))


def test_the_lines_of_a_text_that_hold_credentials_are_numbered_from_one():
    text = f"fine\nkey {SHAPES['openai']}\n\n{SHAPES['private key']}\nfine\n"

    assert credential_lines(text) == [2, 4]
    assert credential_lines("") == []
