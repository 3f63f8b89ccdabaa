"""A configuration that cannot be right is refused with file and line: by the check, at the start and at a reload."""

import os
import signal

import pytest

PROJECT = """app: small
models:
  a: { engine: openai, model: a, base_url: "http://127.0.0.1:1/v1" }
  b: { engine: openai, model: b, base_url: "http://127.0.0.1:1/v1" }
prompts: { chat: prompts/chat.yaml }
routes: { chat: { kind: chat, model: a, prompt: chat } }
evals: { dataset: evals/cases.jsonl, split: all, route: chat }
gates: [{ metric: correct, min: 0.2 }]
"""
REFUSED = {
    "an engine that is none": (
        "engine: openai, model: b",
        "engine: opnai, model: b",
        "",
        "4: models.b.engine: must be",
    ),
    "a model that is not there": (
        "model: a, prompt",
        "model: z, prompt",
        "",
        "6: routes.chat.model: 'z' is not in models",
    ),
    "fallbacks in a circle": (
        "",
        "",
        "routing:\n  fallbacks:\n    a: [b]\n    b: [a]\n",
        "11: routing.fallbacks.a: the fallbacks go in a circle: a -> b -> a",
    ),
    "weights that do not sum up": (
        "",
        "",
        "routing:\n  splits:\n    half: { a: 0.5, b: 0.4 }\n",
        "11: routing.splits.half: the weights sum to 0.9; they must sum to 1 or to 100",
    ),
    "a price that is missing": ("", "", "budgets: { daily_usd: 5 }\n", "3: models.a.price: missing"),
    "a key's limits without tenant": (
        "",
        "",
        "key_limits:\n  key_1: { per_key_min: 5 }\n",
        "10: key_limits.key_1.tenant: required key is missing",
    ),
    "a key's limits of an unknown tenant": (
        "",
        "",
        "tenants: { acme: {} }\nkey_limits:\n  key_1: { tenant: acne, per_key_min: 5 }\n",
        "11: key_limits.key_1.tenant: 'acne' is not in tenants",
    ),
    "rules that overlap": (
        "",
        "",
        "routing:\n  rules:\n    - { max_chars: 100, to: a }\n    - { min_chars: 50, to: b }\n",
        "12: routing.rules[1]: overlaps rules[0]",
    ),
    "a rule that can never match": (
        "",
        "",
        "routing:\n  rules:\n    - { to: a }\n    - { tenant: acme, to: b }\n",
        "12: routing.rules[1]: can never match: rules[0]",
    ),
}

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]


@pytest.mark.parametrize("case", REFUSED)
@pytest.mark.parametrize("command", ["config check", "up", "reload", "serve"])
def test_a_configuration_that_cannot_be_right_is_refused_with_file_and_line(make_app, case, command):
    app = make_app()
    before, after, more, said = REFUSED[case]
    app.write("shipway.yaml", PROJECT.replace(before, after, 1) + more if before else PROJECT + more)

    done = app.run(*command.split())

    assert done.code == 2
    assert f"shipway.yaml:{said}" in done.err
    assert not (app.root / ".shipway").exists()


def test_a_key_whose_tenant_is_gone_is_refused_with_file_and_line(make_app):
    app = make_app()
    key = app.run("key", "create", "--tenant", "globex", "--json").json["key_id"]
    text = (app.root / "shipway.yaml").read_text()
    app.write("shipway.yaml", text + "tenants:\n  acme: {}\n")
    line = len(text.splitlines()) + 1

    for command in ("config check", "up"):
        done = app.run(*command.split())
        assert done.code == 2
        assert f"shipway.yaml:{line}: tenants: the key {key} belongs to 'globex', which is not in tenants" in done.err

    assert app.run("key", "revoke", key).code == 0
    assert app.run("config", "check").code == 0


def test_a_reload_refuses_to_take_the_tenant_of_a_key_away(make_app):
    app = make_app()
    assert app.spawn("up").code == 0
    try:
        text = (app.root / "shipway.yaml").read_text()
        app.write("shipway.yaml", text + "tenants: { acme: {} }\n")
        done = app.run("reload")
        assert done.code == 2
        assert "belongs to 'default', which is not in tenants (it has acme)" in done.err

        status = app.run("status")
        assert "`shipway reload` lets the gateway obey it" in status.out
        app.write("shipway.yaml", text + "tenants: { acme: {}, default: {} }\n")
        assert app.run("reload").code == 0
        assert app.run("status", "--json").json["config"] == {"revision": 3, "edited": False}
    finally:
        app.run("down")


def test_a_gateway_in_the_foreground_reloads_too_and_starts_again_with_the_file_as_it_is(make_app):
    app = make_app()
    for limit in (11, 12):
        process = app.start("serve", "--port", "0")
        try:
            deadline = 400
            while app.run("reload").code == 2 and deadline:
                deadline -= 1
            text = (app.root / "shipway.yaml").read_text().partition("rates:")[0]
            app.write("shipway.yaml", f"{text}rates: {{ per_key_min: {limit} }}\n")
            done = app.run("reload", "--json")
            assert done.code == 0, done.err
            assert done.json["changed"] == ["rates.per_key_min"]
        finally:
            os.kill(process.pid, signal.SIGTERM)
            process.communicate(timeout=60)
        assert process.returncode == 0
