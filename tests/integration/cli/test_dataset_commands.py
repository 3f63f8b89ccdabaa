"""`shipway dataset` on real files: what it prints, writes and exits with."""

import csv
import json

import pytest

from shipway.entrypoints.cli.main import COMMANDS

PROMPTFOO = """\
providers: [openai:gpt-4o-mini]
tests:
  - vars: {question: "How long may a film be kept?"}
    assert: [{type: contains, value: 7 days}, {type: javascript, value: "true"}]
  - file://more.csv
"""


@pytest.fixture(autouse=True)
def _command(monkeypatch):
    where = "shipway.entrypoints.cli.commands.dataset:group"
    monkeypatch.setitem(COMMANDS, "dataset", (where, "Check, compare, divide, import and register cases."))


@pytest.fixture
def library(make_app):
    """A project whose cases pass every check."""
    project = make_app("rag")
    project.write("evals/cases.jsonl", lines(*good()))
    return project


def good(count=24):
    things = ["film", "book", "map", "record", "game", "atlas", "score", "comic", "print", "globe", "slide", "model"]
    verbs = ["keep", "reserve"]
    return [
        {
            "id": f"c{number}",
            "question": f"May my sister {verbs[number // 12]} the {things[number % 12]} over the holidays?",
            "must_contain": ["yes"],
            "tenant": "default",
            "cluster": things[number % 12],
        }
        for number in range(count)
    ]


def lines(*rows):
    return "".join(json.dumps(row) + "\n" for row in rows)


def test_a_good_dataset_exits_with_0_and_says_what_was_not_looked_at(library):
    done = library.run("dataset", "check")
    assert done.code == 0, done.err + done.out
    assert "not looked at: dataset/length-shift: no version to compare with" in done.out
    assert done.out.splitlines()[-1] == "evals/cases.jsonl: PASS: 24 cases, 0 findings, 0 warnings"


def test_findings_exit_with_1_and_name_file_line_rule_and_case(library):
    leaked = "Which of the regulations for readers covers a globe that was dropped?"
    library.edit("prompts/answer.yaml", "Answer from the text.", f"Answer from the text. {leaked}")
    rows = [*good(), {**good()[0], "id": "again"}, {**good()[1], "id": "leak", "question": leaked}]
    library.write("evals/cases.jsonl", lines(*rows))
    done = library.run("dataset", "check")
    assert done.code == 1
    assert "evals/cases.jsonl:25: FAIL dataset/duplicate 'again': asks the same as 'c0'; keep one" in done.out
    assert "evals/cases.jsonl:26: FAIL dataset/leakage-prompt 'leak': question: 100% of its wording" in done.out


def test_a_question_that_stands_in_a_document_is_found(library):
    library.write("docs/faq.md", f"# Questions\n\n{good()[3]['question']} Yes.\n")
    done = library.run("dataset", "check", "--json")
    assert done.code == 1
    (finding,) = [item for item in done.json["findings"] if item["verdict"] == "FAIL"]
    assert (finding["rule"], finding["case"]) == ("dataset/leakage-corpus-question", "c3")
    assert finding["details"]["source"] == "docs/faq.md"


def test_a_document_that_cannot_be_read_exits_with_3(library):
    library.write("docs/broken.docx", "this is no archive")
    done = library.run("dataset", "check")
    assert done.code == 3
    assert "ERROR dataset/leakage-corpus-question: docs/broken.docx: " in done.out


def test_a_malformed_dataset_exits_with_2_and_every_line(library):
    library.write("evals/cases.jsonl", '{"id": "a"}\n{"id": 5, "question": "q"}\n')
    done = library.run("dataset", "check")
    assert done.code == 2
    assert "evals/cases.jsonl:1: question: missing" in done.err
    assert "evals/cases.jsonl:2: id: expected text" in done.err


def test_personal_data_is_a_warning_and_not_repeated(library):
    rows = [*good()[:-1], {**good()[-1], "reference": "Write to jane.doe@example.org, please."}]
    library.write("evals/cases.jsonl", lines(*rows))
    done = library.run("dataset", "check")
    assert done.code == 0
    assert "warning dataset/pii 'c23': reference: holds what looks like personal data (email)" in done.out
    assert "jane.doe" not in done.out


def test_a_registered_version_is_what_the_next_check_compares_with(library):
    first = library.run("dataset", "register", "--json").json
    assert (first["version"], first["new"]) == ("cases@1", True)
    assert library.run("dataset", "register", "--json").json["new"] is False
    longer = [{**row, "question": f"{row['question']} It was a gift from an old friend of ours."} for row in good()]
    library.write("evals/cases.jsonl", lines(*longer))
    done = library.run("dataset", "check", "--json")
    assert done.code == 1
    assert {item["rule"] for item in done.json["findings"] if item["verdict"] == "FAIL"} >= {"dataset/length-shift"}
    assert library.run("dataset", "register", "--json").json["version"] == "cases@2"
    assert library.run("dataset", "check", "--against", "1").code == 1
    assert library.run("dataset", "check").code == 0
    assert [item["number"] for item in library.run("dataset", "list", "--json").json] == [1, 2]


def test_two_versions_are_compared_case_by_case(library):
    library.run("dataset", "register")
    changed = [{**good()[0], "must_contain": ["no"]}, *good()[2:], {"id": "new", "question": "New?"}]
    library.write("evals/cases.jsonl", lines(*changed))
    done = library.run("dataset", "diff", "cases@1", "evals/cases.jsonl")
    assert done.out.splitlines() == ["added    new", "removed  c1", "changed  c0: must_contain", "unchanged 22"]
    assert library.run("dataset", "diff", "cases@1", "cases@1").out == "the same 24 cases\n"


def test_a_dataset_without_a_section_is_compared_by_the_name_that_its_versions_have(library):
    library.run("dataset", "register")
    library.write("evals/cases.jsonl", lines(*good()[1:]))

    done = library.run("dataset", "diff", "cases@1", "cases")

    assert done.out.splitlines() == ["removed  c0", "unchanged 23"]


def test_the_name_of_versions_alone_is_refused_with_the_newest_of_them(library):
    library.run("dataset", "register", "--name", "other")

    done = library.run("dataset", "diff", "other@1", "other")

    assert done.code == 2
    assert "no dataset 'other'" in done.err
    assert "other@1 is its newest version; a file is named by its path" in done.err


def test_a_version_that_does_not_exist_exits_with_2(library):
    done = library.run("dataset", "diff", "cases@1", "cases@2")
    assert done.code == 2
    assert "no dataset version cases@1" in done.err


def test_a_dataset_that_does_not_exist_exits_with_2(library):
    library.edit("shipway.yaml", "app: small-rag", "app: small-rag\ndatasets: {faq: {path: evals/faq.csv}}")
    done = library.run("dataset", "check", "fqa")
    assert done.code == 2
    assert "no dataset 'fqa': neither a file nor a name in shipway.yaml" in done.err
    assert "did you mean 'faq'?" in done.err
    assert "evals/faq.csv: no such file" in library.run("dataset", "check", "faq").err


def test_a_named_dataset_has_its_own_encoding_separator_and_checks(library):
    section = 'datasets: {faq: {path: evals/faq.csv, encoding: latin-1, delimiter: ";", checks: {min_cases: 3}}}'
    library.edit("shipway.yaml", "app: small-rag", f"app: small-rag\n{section}")
    (library.root / "evals" / "faq.csv").write_bytes("id;question;reference\na;Wie heißt er?;Jörg\n".encode("latin-1"))
    done = library.run("dataset", "check", "faq")
    assert done.code == 1
    assert "evals/faq.csv: FAIL dataset/size: 1 cases; checks.min_cases asks for 3" in done.out


def test_an_unknown_encoding_in_the_project_file_is_refused(library):
    library.edit("shipway.yaml", "app: small-rag", "app: small-rag\ndatasets: {faq: {path: f.csv, encoding: latin-99}}")
    done = library.run("dataset", "check")
    assert done.code == 2
    assert "no encoding 'latin-99'" in done.err


def test_a_named_dataset_is_what_a_release_is_judged_on(library):
    library.edit("shipway.yaml", "dataset: evals/cases.jsonl", "dataset: faq")
    section = "datasets: {faq: {path: evals/faq.csv, encoding: latin-1}}"
    library.edit("shipway.yaml", "app: small-rag", f"app: small-rag\n{section}")
    (library.root / "evals" / "faq.csv").write_bytes(
        "id,question,unanswerable\na,Wie heißt er?,true\nb,q\n".encode("latin-1")
    )
    done = library.run("config", "check")
    assert "evals/faq.csv:3: 2 cells under 3 columns" in done.err


def test_stats_count_the_cases(library):
    found = library.run("dataset", "stats", "--json").json
    assert (found["cases"], found["splits"], found["clusters"]) == (24, {"test": 24}, {"test": 12})
    assert "  cases a cluster       2 to 2, in the middle 2, 95 % up to 2" in library.run("dataset", "stats").out


def test_split_writes_whole_clusters_and_replaces_nothing_unasked(library, tmp_path):
    out = tmp_path / "divided.jsonl"
    done = library.run("dataset", "split", "evals/cases.jsonl", "--test", "0.25", "--out", str(out), "--json")
    assert done.code == 0, done.err
    assert (done.json["test"], done.json["calibration"]) == (6, 18)
    written = [json.loads(line) for line in out.read_text().splitlines()]
    splits = {row["cluster"]: row.get("split", "test") for row in written}
    assert all(row.get("split", "test") == splits[row["cluster"]] for row in written)
    again = library.run("dataset", "split", "evals/cases.jsonl", "--out", str(out))
    assert again.code == 2
    assert "is there already" in again.err
    assert library.run("dataset", "split", "evals/cases.jsonl", "--out", str(out), "--force").code == 0


def test_promptfoo_is_imported_and_what_got_lost_is_said(shipway, tmp_path):
    (tmp_path / "promptfooconfig.yaml").write_text(PROMPTFOO)
    (tmp_path / "more.csv").write_text("question,__expected\nWho opens?,contains: Ann\n")
    out = tmp_path / "cases.jsonl"
    done = shipway(
        "dataset", "import", str(tmp_path / "promptfooconfig.yaml"), "--from", "promptfoo", "--out", str(out)
    )
    assert done.code == 0, done.err
    assert "assert javascript: is code; run it with promptfoo" in done.err
    first, second = (json.loads(line) for line in out.read_text().splitlines())
    assert first["assert"] == [{"type": "contains", "value": "7 days"}]
    assert (second["question"], second["metadata"]["origin"]) == ("Who opens?", "more.csv:2")


@pytest.mark.parametrize("name", ["../outside.csv", "/etc/passwd", "tests/*.yaml"])
def test_an_imported_file_reads_nothing_outside_its_folder(shipway, tmp_path, name):
    folder = tmp_path / "in"
    folder.mkdir()
    (tmp_path / "outside.csv").write_text("question\nsecret?\n")
    (folder / "c.yaml").write_text(f"tests:\n  - file://{name}\n")
    done = shipway(
        "dataset", "import", str(folder / "c.yaml"), "--from", "promptfoo", "--out", str(tmp_path / "o.jsonl")
    )
    assert done.code == 2
    assert "c.yaml:2: tests: " in done.err
    assert not (tmp_path / "o.jsonl").exists()


def test_a_link_out_of_the_folder_is_not_followed(shipway, tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    (tmp_path / "outside.csv").write_text("question\nsecret?\n")
    (folder / "link.csv").symlink_to(tmp_path / "outside.csv")
    (folder / "c.yaml").write_text("tests: file://link.csv\n")
    done = shipway(
        "dataset", "import", str(folder / "c.yaml"), "--from", "promptfoo", "--out", str(tmp_path / "o.jsonl")
    )
    assert done.code == 2
    assert "leads out of the folder" in done.err


def test_latin_1_is_read_when_asked(shipway, tmp_path):
    source, out = tmp_path / "excel.csv", tmp_path / "cases.jsonl"
    with source.open("w", encoding="latin-1", newline="") as file:
        csv.writer(file, delimiter=";").writerows([["id", "question"], ["a", "Wie heißt Jörg?"]])
    refused = shipway("dataset", "import", str(source), "--from", "csv", "--out", str(out))
    assert refused.code == 2
    assert (
        "excel.csv:2: not UTF-8 (byte 0xdf); save it as UTF-8, or name its encoding: --encoding latin-1" in refused.err
    )
    assert not out.exists()
    done = shipway("dataset", "import", str(source), "--from", "csv", "--encoding", "latin-1", "--out", str(out))
    assert done.code == 0, done.err
    assert json.loads(out.read_text()) == {"id": "a", "question": "Wie heißt Jörg?"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--from", "promptfo"], "did you mean 'promptfoo'?"),
        (["--from", "csv", "--delimiter", "::"], "one character, or tab"),
        (["--from", "csv", "--encoding", "latin-99"], "no encoding 'latin-99'"),
    ],
)
def test_a_wrong_option_exits_with_2(shipway, tmp_path, arguments, message):
    (tmp_path / "c.csv").write_text("id,question\na,q\n")
    done = shipway("dataset", "import", str(tmp_path / "c.csv"), "--out", str(tmp_path / "o.jsonl"), *arguments)
    assert done.code == 2
    assert message in done.err


def test_a_file_is_checked_without_any_project(shipway, tmp_path, monkeypatch):
    (tmp_path / "cases.jsonl").write_text(lines(*good()))
    monkeypatch.chdir(tmp_path)
    done = shipway("dataset", "check", "cases.jsonl")
    assert done.code == 0, done.err
    assert "no project whose prompts and documents could be compared" in done.out
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cases.jsonl"]
    assert shipway("dataset", "check").code == 2


def test_the_schema_describes_a_case(shipway):
    found = shipway("dataset", "schema", "--json").json
    assert {"id", "question", "context", "messages", "variables", "metadata"} <= set(found["properties"])


def test_a_file_that_is_not_there_is_said_so_outside_of_a_project_too(shipway, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    done = shipway("dataset", "check", "nope.jsonl")

    assert done.code == 2
    assert "nope.jsonl: no such file" in done.err


def test_two_files_are_compared_outside_of_a_project(shipway, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.jsonl").write_text('{"id": "a", "question": "A?"}\n')
    (tmp_path / "b.jsonl").write_text('{"id": "a", "question": "A?"}\n{"id": "b", "question": "B?"}\n')

    done = shipway("dataset", "diff", "a.jsonl", "b.jsonl")

    assert (done.code, done.out.splitlines()) == (0, ["added    b", "unchanged 1"])
    assert shipway("dataset", "diff", "a.jsonl", "faq@2").code == 2


def test_one_of_a_kind_is_told_in_the_singular(shipway, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.jsonl").write_text('{"id": "a", "question": "A?"}\n')

    assert "a.jsonl: PASS: 1 case, 0 findings, " in shipway("dataset", "check", "a.jsonl").out


def test_a_language_that_nobody_can_tell_is_refused_with_or_without_a_project(shipway, library, monkeypatch):
    case = {"id": "a", "question": "A?", "assert": [{"type": "language", "value": "xx"}]}
    library.write("evals/xx.jsonl", json.dumps(case))
    said = "xx.jsonl:1: assert[0].value: language: no language 'xx'"

    inside = library.run("dataset", "check", "evals/xx.jsonl")
    monkeypatch.chdir(library.write("../elsewhere/xx.jsonl", json.dumps(case)).parent)
    outside = shipway("dataset", "check", "xx.jsonl")

    assert (inside.code, outside.code) == (2, 2)
    assert said in inside.err
    assert said in outside.err
