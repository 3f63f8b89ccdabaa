"""Comparing releases, and evaluating one whose engine is away, as the program does it."""

import socket


def test_an_evaluation_stops_at_once_when_nobody_answers_and_says_so_once(make_app):
    app = make_app()
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{unused.getsockname()[1]}/v1"
        app.edit("shipway.yaml", "engine: echo, model: echo", f"engine: openai, model: echo, base_url: '{address}'")
        release = app.run("release", "create", "--json").json["release"]
        done = app.run("eval", "run", release)
    assert (done.code, done.out) == (3, "")
    assert done.err.count(address) == 1
    assert f"verdict ERROR: the first 5 calls of {release} all failed" in done.err
    assert "`shipway up`" in done.err
    assert "`shipway logs engine-ALIAS`" in done.err
    assert app.run("eval", "compare", release, release).code == 2, "nothing was stored"


def test_an_engine_that_was_never_started_is_an_error_and_no_misuse(make_app):
    app = make_app()
    release = app.run("release", "create", "--json").json["release"]
    done = app.run("eval", "run", release)
    assert done.code == 3
    assert "engine 'echo' is not running" in done.err
    assert "`shipway up`" in done.err


def test_two_releases_are_compared_line_by_line(make_app):
    app = make_app()
    before = app.run("release", "create", "--json").json["release"]
    app.edit("prompts/chat.yaml", "You are helpful.", "You are brief.")
    app.edit("shipway.yaml", "max_out: 64", "max_out: 32")
    after = app.run("release", "create", "--json").json["release"]
    shown = app.run("release", "diff", before, after).out.splitlines()
    assert "  model   echo.max_out: 64 -> 32" in shown
    assert {"    -system: You are helpful.", "    +system: You are brief."} <= set(shown)
    found = app.run("release", "diff", before, after, "--json").json
    assert "+system: You are brief." in found["texts"][0]["diff"]
    assert {change["key"] for change in found["changes"]} == {"chat.digest", "echo.max_out"}


def test_no_release_is_made_that_its_own_gates_can_say_nothing_about(make_app):
    app = make_app()
    app.edit("shipway.yaml", "metric: correct, min: 0.2", "metric: correct, min: 0.999")
    done = app.run("release", "create")
    checked = app.run("config", "check")
    assert (done.code, checked.code) == (2, 2)
    (line,) = [line for line in checked.err.splitlines() if "gates[0]" in line]
    assert line in done.err
    assert app.run("release", "list", "--json").json == []
