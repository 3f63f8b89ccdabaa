import json
import os
import weakref

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shipway.core.errors import ConflictError, NotFoundError, UsageError
from shipway.evals import run_directory
from shipway.evals.attempt_lines import attempt_line, read_attempt
from shipway.evals.budget import Spent
from shipway.evals.model import Attempt, Case, CaseResult, Dataset, Output, ToolCall
from shipway.evals.run_directory import RunDirectory, file_name, read_plan
from shipway.evals.run_plan import RunFile, differing_keys
from shipway.evals.scores import ScoreTable

CASES = tuple(Case(id=f"c{n}", question="?") for n in range(4))


def plan(repeats=1, **more):
    targets = {"rel_new": {"digest": "rel_new", "kind": "release"}, "rel_old": {"digest": "rel_old", "kind": "release"}}
    return RunFile("run_1", {"targets": targets, "repeats": repeats, "seed": 0, **more}, "", {"packages": {"a": "1"}})


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "runs" / "run_1"


def begun(folder, repeats=1):
    return RunDirectory.create(folder, plan(repeats), CASES)


def again(folder):
    return RunDirectory(folder, read_plan(folder), CASES)


def attempt(case, repeat=0, answer="a", **more):
    return Attempt(case, repeat, Output(answer=answer, **more))


def test_what_was_written_is_there_when_the_run_is_opened_again(folder):
    first = begun(folder)
    first.write("rel_new", attempt("c1", answer="kept"))
    first.write("rel_old", attempt("c2", error="timeout", answer=""))
    first.close()
    second = again(folder)
    assert second.finished("rel_new") == {("c1", 0)}
    assert second.finished("rel_old") == frozenset()
    assert second.count("rel_old") == (1, 1)
    assert second.attempts("rel_new", CASES[1], 1) == [attempt("c1", answer="kept")]
    second.close()


def test_a_torn_last_line_is_dropped_and_what_follows_is_whole(folder):
    first = begun(folder)
    first.write("rel_new", attempt("c0"))
    first.close()
    path = folder / "attempts-rel_new.jsonl"
    path.write_bytes(path.read_bytes() + attempt_line(attempt("c1"))[:-5])
    second = again(folder)
    assert second.finished("rel_new") == {("c0", 0)}
    second.write("rel_new", attempt("c1", answer="whole"))
    second.close()
    third = again(folder)
    assert third.finished("rel_new") == {("c0", 0), ("c1", 0)}
    assert [found.output.answer for found in third.every_attempt("rel_new", 1)] == ["a", "whole"]
    third.close()


def test_the_last_of_several_answers_counts_and_one_wins_over_an_error(folder):
    run = begun(folder)
    run.write("rel_new", attempt("c0", error="503", answer=""))
    run.write("rel_new", attempt("c0", answer="at last"))
    assert run.finished("rel_new") == {("c0", 0)}
    assert run.count("rel_new") == (1, 0)
    assert run.attempts("rel_new", CASES[0], 1)[0].output.answer == "at last"
    run.close()


def test_every_line_is_written_at_once(folder, monkeypatch):
    written = []
    real = os.write
    run = begun(folder)
    monkeypatch.setattr(run_directory.os, "write", lambda file, data: written.append(bytes(data)) or real(file, data))
    run.write("rel_new", attempt("c0", answer="x" * 100_000))
    assert len(written) == 1
    assert written[0].endswith(b"\n")
    run.close()


def test_one_process_at_a_time_has_a_run(folder):
    run = begun(folder)
    with pytest.raises(ConflictError, match="another process runs this run"):
        again(folder)
    run.close()
    again(folder).close()


def test_a_run_is_begun_once_and_gone_on_with_under_its_own_plan_alone(folder):
    begun(folder).close()
    with pytest.raises(ConflictError, match="holds a run already"):
        begun(folder)
    RunDirectory.begin(folder, plan(), CASES).close()
    with pytest.raises(UsageError, match="begun under another plan:\n  repeats: 1 against 3"):
        RunDirectory.begin(folder, plan(3), CASES)


def test_a_plan_is_read_back_and_one_that_was_changed_is_refused(folder):
    begun(folder).close()
    assert read_plan(folder) == plan()
    assert read_plan(folder).digest == plan().digest
    body = json.loads((folder / "plan.json").read_text())
    (folder / "plan.json").write_text(json.dumps({**body, "repeats": 9}))
    with pytest.raises(UsageError, match="was changed after the run began"):
        read_plan(folder)
    (folder / "plan.json").write_text("{")
    with pytest.raises(UsageError, match="is no plan of a run"):
        read_plan(folder)
    with pytest.raises(NotFoundError, match="holds no run"):
        read_plan(folder.parent)


def test_provenance_and_shard_are_no_part_of_what_must_be_equal():
    other = RunFile("run_2", plan().identity, "1/2", {"hardware": "another"})
    assert other.digest == plan().digest
    assert plan(2).digest != plan().digest


def test_differing_plans_name_every_key():
    one = {"repeats": 1, "binding": {"a": {"judge": "x", "dataset": "d"}}, "seed": 0}
    other = {"repeats": 3, "binding": {"a": {"judge": "y", "dataset": "d"}}}
    assert differing_keys(one, other) == [
        "binding.a.judge: x against y",
        "repeats: 1 against 3",
        "seed: 0 against nothing",
    ]


def test_the_files_are_for_their_owner_alone(folder):
    run = begun(folder)
    assert folder.stat().st_mode & 0o777 == 0o700
    assert (folder / "attempts-rel_new.jsonl").stat().st_mode & 0o777 == 0o600
    run.close()


def table(results, repeats=1):
    return ScoreTable.of(Dataset("d", CASES), results, repeats, ("correct", "mrr"))


def test_results_have_their_scores_and_their_answers(folder):
    run = begun(folder)
    run.write("rel_new", attempt("c2", answer="two"))
    run.write("rel_new", attempt("c0", answer="none", error="down"))
    scored = [
        CaseResult("c2", 0, {"correct": 1.0, "mrr": None}),
        CaseResult("c0", 0, {"mrr": None}, {"correct": "down"}),
    ]
    found = run.results("rel_new", table(scored))
    assert len(found) == 2
    assert found[1] == CaseResult("c2", 0, {"correct": 1.0, "mrr": None}, {}, Output(answer="two"))
    assert found[0].errors == {"correct": "down"}
    assert [item.case_id for item in found[0:2]] == ["c0", "c2"]
    assert [item.output for item in found.scores()] == [Output(), Output()]
    run.close()


def test_gates_read_the_columns_without_looking_at_answers(folder):
    run = begun(folder)
    run.write("rel_new", attempt("c1"))
    found = run.results("rel_new", table([CaseResult("c1", 0, {"correct": 1.0, "mrr": 0.5})]))
    run.close()
    # An answer that was looked at would be an error.
    (folder / "attempts-rel_new.jsonl").unlink()
    again_read = ScoreTable.of(Dataset("d", CASES), found, 1, ("correct",))
    assert list(again_read.values) == ["correct"]
    assert again_read.values["correct"][1, 0] == 1.0


def test_answers_can_be_read_when_the_run_is_closed(folder):
    run = begun(folder)
    run.write("rel_new", attempt("c1", answer="kept"))
    found = run.results("rel_new", table([CaseResult("c1", 0, {"correct": 1.0, "mrr": 0.5})]))
    run.close()
    assert found[0].output.answer == "kept"
    again(folder).close()


def test_outputs_are_not_held_in_memory(folder):
    class Kept(str):
        __slots__ = ("__weakref__",)

    run = begun(folder)
    answers = [Kept("x" * 1000) for _ in CASES]
    seen = [weakref.ref(answer) for answer in answers]
    for case, answer in zip(CASES, answers, strict=True):
        run.write("rel_new", Attempt(case.id, 0, Output(answer=answer)))
    del answers, answer
    assert [ref() for ref in seen] == [None] * len(CASES)
    run.close()


def test_a_folder_in_which_nobody_answered_is_removed(folder):
    run = begun(folder)
    run.write("rel_old", attempt("c0", error="connection refused", answer=""))
    run.close()
    run.remove_if_unanswered()
    assert not folder.exists()


def test_a_folder_with_an_answer_stays(folder):
    run = begun(folder)
    run.write("rel_old", attempt("c0"))
    run.close()
    run.remove_if_unanswered()
    assert folder.exists()


@pytest.mark.parametrize("name", ["rel_0a", "http://127.0.0.1:1/v1#m", "a/b", "a_b", "x" * 200, "../up", "\ud800"])
def test_a_target_has_a_file_of_its_own(name):
    others = ["rel_0a", "http://127.0.0.1:1/v1#m", "a/b", "a_b", "x" * 200, "../up", "x" * 201, "a_b?"]
    assert "/" not in file_name(name)
    assert len(file_name(name)) < 100
    assert len({file_name(other) for other in {*others, name}}) == len({*others, name})


outputs = st.builds(
    Output,
    answer=st.text(),
    model_text=st.none() | st.text(),
    citations=st.lists(st.text(), max_size=3).map(tuple),
    passages=st.lists(st.text(), max_size=2).map(tuple),
    latency_ms=st.none() | st.floats(0, 1e6),
    tokens_in=st.integers(0, 10**9),
    cost_usd=st.none() | st.floats(0, 10),
    error=st.none() | st.text(min_size=1),
    tool_calls=st.lists(st.builds(ToolCall, st.text(), st.dictionaries(st.text(), st.integers(-9, 9))), max_size=2).map(
        tuple
    ),
    cached=st.booleans(),
)


@given(st.text(min_size=1), st.integers(0, 99), outputs, st.integers(0, 3))
def test_an_answer_is_read_back_as_it_was(case, repeat, output, retries):
    found = Attempt(case, repeat, output, retries)
    line = attempt_line(found)
    assert line.count(b"\n") == 1
    assert read_attempt(line) == found


def test_half_a_surrogate_pair_and_odd_values_cost_no_answer():
    odd = Output(answer="a\ud800b", tool_calls=(ToolCall("f", {"big": 2**70, "other": object}),))
    found = read_attempt(attempt_line(Attempt("c", 0, odd)))
    assert found.output.answer == "a?b"
    assert found.output.tool_calls[0].arguments["big"] == str(2**70)


def test_targets_of_other_names_are_told_by_their_names_alone():
    def about(name):
        return {"targets": {name: {"digest": name, "kind": "target"}, "old": {"digest": "1"}}, "binding": {name: {}}}

    assert differing_keys(about("far"), about("near")) == ["targets: far against near"]
    assert differing_keys(about("far"), {**about("far"), "targets": {"far": {"digest": "far", "kind": "target"}}}) == [
        "targets: old against nothing"
    ]


def test_what_answers_took_is_known_of_the_whole_run_however_often_it_was_begun(folder):
    run = begun(folder)
    run.write("rel_new", attempt("c0", tokens_in=10, tokens_out=5, cost_usd=0.25))
    run.write("rel_old", attempt("c0", error="gone"))
    run.write("rel_old", attempt("c1", tokens_in=9, cost_usd=9.0, cached=True))
    run.close()
    run = again(folder)
    run.write("rel_old", attempt("c0", tokens_in=1, tokens_out=1, cost_usd=0.5))
    assert run.spent() == {"rel_new": Spent(1, 10, 5, 0.25), "rel_old": Spent(2, 1, 1, 0.5)}
    run.write("rel_new", attempt("c1", tokens_in=1))
    assert run.spent()["rel_new"].usd is None
    run.close()
