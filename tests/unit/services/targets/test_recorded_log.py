import codecs
import json

import pytest

from shipway.core.errors import DatasetError, UnavailableError, UsageError
from shipway.evals.attempt_lines import attempt_line
from shipway.evals.model import Attempt, Case, Output, ToolCall
from shipway.services.targets.recorded_log import opened_log

CASE = Case(id="a", question="Why?")


def case(name):
    return Case(id=name, question="Why?")


def written(path, *rows):
    path.write_bytes(b"".join(row if isinstance(row, bytes) else json.dumps(row).encode() + b"\n" for row in rows))
    return path


async def answers(path, *asked):
    async with opened_log(path, path.name) as log:
        return [await log.ask(case(name), repeat=repeat) for name, repeat in asked]


async def refused(path):
    with pytest.raises(DatasetError) as caught:
        async with opened_log(path, path.name):
            pass
    return caught.value.problems


async def test_answers_from_anywhere_are_given_again(tmp_path):
    path = written(
        tmp_path / "log.jsonl",
        {"case": "a", "answer": "first", "latency_ms": 12.5, "citations": ["d"], "metadata": {"by": "ann"}},
        b"\n",
        {"case": "a", "repeat": 1, "answer": "second", "question": "Why?"},
        {"id": "b", "error": "timeout"},
    )

    first, second, failed = await answers(path, ("a", 0), ("a", 1), ("b", 0))

    assert first == Output(answer="first", latency_ms=12.5, citations=("d",))
    assert (second.answer, second.latency_ms) == ("second", None)
    assert second.cached, "without a recorded latency none may be judged"
    assert failed.error == "timeout"


async def test_a_run_of_shipway_is_given_again_as_it_was(tmp_path):
    outputs = [
        Output(answer="yes", model_text="y", latency_ms=3.0, tokens_in=5, cost_usd=0.1, retrieved=("d",)),
        Output(answer="no", latency_ms=4.0, tool_calls=(ToolCall("f", {"x": 1}),), ttft_ms=1.0, events=("abstained",)),
        Output(error="UpstreamError: busy", latency_ms=1.0),
    ]
    lines = [attempt_line(Attempt("a", repeat, output)) for repeat, output in enumerate(outputs)]
    written(tmp_path / "attempts-big.jsonl", *lines)
    (tmp_path / "plan.json").write_text("{}")

    assert await answers(tmp_path, ("a", 0), ("a", 1), ("a", 2)) == outputs


async def test_of_a_failed_attempt_and_its_successor_the_later_counts(tmp_path):
    lines = [attempt_line(Attempt("a", 0, output)) for output in (Output(error="busy"), Output(answer="yes"))]

    (found,) = await answers(written(tmp_path / "attempts-x.jsonl", *lines), ("a", 0))

    assert found.answer == "yes"


async def test_the_torn_last_line_of_a_killed_run_is_no_answer(tmp_path):
    line = attempt_line(Attempt("a", 0, Output(answer="yes")))
    path = written(tmp_path / "attempts-x.jsonl", line, attempt_line(Attempt("b", 0, Output(answer="y")))[:-5])

    async with opened_log(path, "run") as log:
        assert (await log.ask(CASE, repeat=0)).answer == "yes"
        with pytest.raises(UsageError, match="run has no answer to case 'b'"):
            await log.ask(case("b"), repeat=0)


async def test_a_case_that_was_not_recorded_is_named(tmp_path):
    path = written(tmp_path / "log.jsonl", *({"case": "a", "repeat": n, "answer": "x"} for n in range(3)))

    with pytest.raises(UsageError, match=r"^log\.jsonl has no answer to case 'zebra'$"):
        await answers(path, ("zebra", 0))
    with pytest.raises(UsageError, match=r"has no answer to case 'a', repeat 3; it has repeats 0 to 2$"):
        await answers(path, ("a", 3))


async def test_an_answer_to_another_question_is_refused(tmp_path):
    path = written(tmp_path / "log.jsonl", {"case": "a", "question": "Why not?", "answer": "x"})

    with pytest.raises(UsageError) as caught:
        await answers(path, ("a", 0))
    assert str(caught.value) == (
        "log.jsonl:1: case 'a' was recorded for another question, 'Why not?';"
        " record the answers again, or give the changed case a new id"
    )


async def test_the_mark_that_some_editors_begin_a_file_with_is_left_out(tmp_path):
    rows = [{"case": name, "answer": name.upper()} for name in "ab"]
    marked = written(tmp_path / "marked.jsonl", codecs.BOM_UTF8, *rows)
    plain = written(tmp_path / "plain.jsonl", *rows)

    assert [output.answer for output in await answers(marked, ("a", 0), ("b", 0))] == ["A", "B"]
    async with opened_log(marked, "m") as first, opened_log(plain, "p") as second:
        assert first.digest == second.digest


async def test_a_file_of_the_mark_alone_holds_no_answer(tmp_path):
    assert await refused(written(tmp_path / "log.jsonl", codecs.BOM_UTF8)) == ["log.jsonl: holds no answer"]


async def test_answers_to_cases_that_are_not_asked_are_counted_and_the_first_is_named(tmp_path):
    names = ["a", "x", "y", "x"]
    rows = [{"case": name, "answer": "1", "repeat": index} for index, name in enumerate(names)]

    async with opened_log(written(tmp_path / "log.jsonl", *rows), "log.jsonl") as log:
        assert log.beside(["a", "x", "y", "z"]) == ""
        assert log.beside(["a", "x"]) == (
            "log.jsonl has answers to a case that the dataset does not have; it is 'y' (line 3)"
        )
        assert log.beside(["a"]) == (
            "log.jsonl has answers to 2 cases that the dataset does not have; the first is 'x' (line 2)"
        )


async def test_everything_wrong_is_told_with_its_line(tmp_path):
    path = written(
        tmp_path / "log.jsonl",
        {"case": "a", "answer": "x"},
        {"case": "b", "answer": "x"},
        {"case": "a", "answer": "y"},
        b'{"case": "c", "answer": \n',
        ["c"],
        {"answer": "x"},
        {"case": "d", "answer": "x", "repeat": -1},
        {"case": "d", "answr": "x"},
        {"case": "e", "answer": "x" * 10_000_001},
        {"case": "f", "output": "x"},
        {"id": "r1", "snapshot_version": 3, "status": 200},
        b'{"case": "g", "answer": "\xff"}\n',
        {"case": "h", "answer": "x", "question": 3},
    )

    assert await refused(path) == [
        "log.jsonl:3: case 'a', repeat 0, was recorded in line 1 already",
        "log.jsonl:4: not JSON (unexpected end of data at column 24)",
        "log.jsonl:5: not an object but list",
        "log.jsonl:6: names no case: write its id under `case`",
        "log.jsonl:7: repeat must be a whole number from 0 on, not -1",
        "log.jsonl:8: unknown field 'answr'; did you mean 'answer'?",
        "log.jsonl:9: answer larger than 10,000,000 bytes",
        "log.jsonl:10: output must be an object",
        "log.jsonl:11: a record of the gateway, which keeps no texts: there is nothing to replay",
        "log.jsonl:12: not UTF-8 at byte 26 of the line; write the file as UTF-8",
        "log.jsonl:13: question must be text",
    ]


async def test_of_very_many_problems_the_first_are_told(tmp_path):
    found = await refused(written(tmp_path / "log.jsonl", *([[]] * 1000)))

    assert (len(found), found[-1]) == (21, "log.jsonl: and perhaps more")


async def test_a_run_with_two_answers_to_one_case_is_refused(tmp_path):
    line = attempt_line(Attempt("a", 0, Output(answer="yes")))

    assert await refused(written(tmp_path / "attempts-x.jsonl", line, line)) == [
        "attempts-x.jsonl:2: case 'a', repeat 0, was recorded in line 1 already"
    ]


async def test_an_empty_log_is_refused(tmp_path):
    assert await refused(written(tmp_path / "log.jsonl", b"\n")) == ["log.jsonl: holds no answer"]


@pytest.mark.parametrize(
    ("files", "reason"),
    [([], "holds no attempts-"), (["attempts-a.jsonl", "attempts-b.jsonl"], "attempts-a.jsonl, attempts-b.jsonl")],
)
async def test_a_folder_holds_the_attempts_of_one_target(tmp_path, files, reason):
    for name in files:
        written(tmp_path / name, attempt_line(Attempt("a", 0, Output(answer="x"))))

    with pytest.raises(UsageError, match=reason):
        await answers(tmp_path, ("a", 0))


async def test_a_log_that_is_not_there_is_named(tmp_path):
    with pytest.raises(UsageError, match=r"log gone\.jsonl: there is no such file"):
        await answers(tmp_path / "gone.jsonl")


async def test_a_file_that_changes_while_it_is_read_gives_no_wrong_answer(tmp_path):
    path = written(tmp_path / "log.jsonl", {"case": "a", "answer": "x"}, {"case": "b", "answer": "y"})

    async with opened_log(path, "log") as log:
        written(path, {"case": "b", "answer": "z"}, {"case": "a", "answer": "w"})
        with pytest.raises(UnavailableError, match="log:1: the file changed while it was read"):
            await log.ask(CASE, repeat=0)
        path.write_bytes(b"")
        with pytest.raises(UnavailableError, match="the file changed"):
            await log.ask(CASE, repeat=0)


async def test_the_digest_is_that_of_the_content(tmp_path):
    digests = []
    for name, answer in (("a.jsonl", "x"), ("b.jsonl", "x"), ("c.jsonl", "y")):
        async with opened_log(written(tmp_path / name, {"case": "a", "answer": answer}), name) as log:
            digests.append(log.digest)

    assert digests[0] == digests[1] != digests[2]
