"""What a user sees of a corpus and of a project's files when something is wrong with them."""

import pytest

from shipway.entrypoints.cli.commands import rag

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]


def test_config_check_finds_everything_that_is_wrong_behind_a_valid_file(make_app):
    app = make_app("rag")
    (app.root / "prompts" / "answer.yaml").unlink()
    (app.root / "docs").rename(app.root / "papers")
    app.edit("shipway.yaml", "engine: echo, model: echo", "engine: llamacpp, model: weights/gone.gguf")
    app.edit("shipway.yaml", "reranker: hashing", "reranker: no-such-model")
    with (app.root / "evals" / "cases.jsonl").open("a") as cases:
        cases.write("\n{'id': 'x'}\n" + '{"id": "3", "question": "again"}\n')

    done = app.run("config", "check")

    assert done.code == 2
    for said in (
        "shipway.yaml:3: prompts.answer: prompts/answer.yaml: no such file",
        "shipway.yaml:2: models.echo.model: model 'weights/gone.gguf' is neither",
        "shipway.yaml:5: corpus.root: 'docs' is not a directory",
        "shipway.yaml:6: retrieval.reranker: 'no-such-model' is no reranker model; there are: ms-marco",
        "evals/cases.jsonl:11: not JSON",
        "evals/cases.jsonl:12: id: '3' is already the id of line 4",
    ):
        assert said in done.err
    assert app.run("config", "check", "--json").json["error"]["exit_code"] == 2
    assert not (app.root / ".shipway").exists()


def test_a_model_that_is_not_installed_is_a_problem_with_the_command_that_installs_it(make_app, monkeypatch):
    app = make_app()
    app.edit("shipway.yaml", "engine: echo, model: echo", "engine: llamacpp, model: smollm2-135m-instruct")
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)

    done = app.run("config", "check")

    assert done.code == 2
    assert "shipway.yaml:2: models.echo.model: model 'smollm2-135m-instruct' is not installed" in done.err
    assert "run `shipway models install`" in done.err


def test_a_question_before_any_release_says_how_to_come_to_one(make_app):
    app = make_app("rag")

    none_made = app.run("rag", "ask", "How?", "--tenant", "default")
    app.run("rag", "build")
    release = app.run("release", "create", "--json").json["release"]
    none_deployed = app.run("rag", "ask", "How?", "--tenant", "default")

    assert (none_made.code, none_deployed.code) == (2, 2)
    assert "no release is deployed to 'local'" in none_made.err
    assert "shipway release create" in none_made.err
    assert f"--release, such as {release}" in none_deployed.err
    assert f"`shipway deploy {release}`" in none_deployed.err


def test_a_damaged_index_keeps_release_create_from_pinning_it_until_the_next_build(make_app):
    app = make_app("rag")
    built = app.run("rag", "build", "--json").json["manifest"].removeprefix("sha256:")
    index = app.root / ".shipway" / "corpora" / built / "vectors.faiss"
    index.write_bytes(index.read_bytes()[:-1] + b"\x7f")

    damaged = app.run("release", "create")
    repaired = [app.run("rag", "build"), app.run("release", "create")]

    assert damaged.code == 3
    assert "vectors.faiss changed since the corpus was built" in damaged.err
    assert "shipway rag build" in damaged.err
    assert [done.code for done in repaired] == [0, 0]


def test_an_interrupted_build_says_what_is_kept(make_app, monkeypatch):
    class Interrupted:
        async def build(self, _app, _parts, progress):
            progress(64, 300)
            raise KeyboardInterrupt

    app = make_app("rag")
    monkeypatch.setattr(rag, "corpora", Interrupted)

    done = app.run("rag", "build")

    assert done.code == 130
    assert "documents parsed and 64 of 300 new chunks embedded are kept" in done.err
    assert "the next `shipway rag build` goes on from there" in done.err
