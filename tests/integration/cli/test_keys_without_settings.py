"""A key can be taken away whatever became of the project file, and lifetimes are written as all durations are."""

import json
import sqlite3
from contextlib import closing

import pytest

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]


def published(app) -> set[str]:
    """Return the ids of the keys that gateways are told of."""
    with closing(sqlite3.connect(app.root / ".shipway" / "state.db")) as connection:
        (text,) = connection.execute("SELECT body FROM snapshots WHERE environment = 'local'").fetchone()
    return {key["key_id"] for key in json.loads(text)["keys"]}


@pytest.mark.parametrize("broken", ["routes: [", "app: small\nfoo: 1", None], ids=["syntax", "unknown-key", "removed"])
def test_keys_are_listed_rotated_and_revoked_while_the_project_file_is_broken(make_app, broken):
    app = make_app()
    leaked, kept = (app.run("key", "create", "--json").json["key_id"] for _ in range(2))
    if broken is None:
        (app.root / "shipway.yaml").unlink()
    else:
        app.write("shipway.yaml", broken)

    listed, revoked = app.run("key", "list", "--json"), app.run("key", "revoke", leaked)
    rotated = app.run("key", "rotate", kept, "--json")

    for done in (listed, revoked, rotated):
        assert done.code == 0, done.err
        assert done.err.startswith("shipway: warning: ")
        assert "shipway.yaml" in done.err
    assert {row["key_id"] for row in listed.json} == {leaked, kept}
    assert published(app) == {kept}
    assert app.run("key", "list", "--json").json[0]["key_id"] == kept


def test_a_key_needs_a_sound_project_to_be_made(make_app):
    app = make_app()
    app.run("key", "create")
    app.edit("shipway.yaml", "app: small", "app: small\nfoo: 1")

    done = app.run("key", "create")

    assert done.code == 2
    assert "foo: unknown key" in done.err


def test_a_broken_project_that_never_had_a_store_gets_none(make_app):
    app = make_app()
    app.edit("shipway.yaml", "app: small", "app: small\nfoo: 1")

    done = app.run("key", "list")

    assert (done.code, "foo: unknown key" in done.err) == (2, True)
    assert not (app.root / ".shipway").exists()


@pytest.mark.parametrize("text", ["90s", "30m", "12h", "90d"])
def test_the_lifetime_of_a_key_and_of_a_switch_are_written_alike(make_app, text):
    app = make_app()

    assert app.run("key", "create", "--expires", text).code == 0
    assert "nothing is deployed" in app.run("switch", "set", "kill-route", "chat", "--for", text).err
