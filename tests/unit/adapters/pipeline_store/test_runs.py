"""The folders of runs survive whatever happens to the process that writes them."""

import os
from pathlib import Path

import pytest

from shipway.adapters.pipeline_store.cleaning import clean_cache
from shipway.adapters.pipeline_store.lock import job_beside_no_run, only_run
from shipway.adapters.pipeline_store.log_file import LoggedTail
from shipway.adapters.pipeline_store.runs import RunFolders
from shipway.core.errors import ConflictError, NotFoundError
from shipway.core.verdicts import Verdict
from shipway.pipeline.model import StageResult, StageState
from shipway.pipeline.spec import StageSpec


def result(name: str, **settings: object) -> StageResult:
    return StageResult(name, StageState.PASSED, Verdict.PASS, 0, 1.5, 2, retried=("why",), **settings)  # type: ignore[arg-type]


def test_a_result_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    run = RunFolders(tmp_path).begin("r1", {"digest": "d"})
    written = result("a", outputs={"x": [1, "ä"]}, files={"f": "sha256:1"}, key="k", known="cache")
    run.append(written)
    assert (run.results(), run.plan(), run.finished) == ({"a": written}, {"digest": "d"}, False)


@pytest.mark.parametrize("torn", [b'{"name": "b", "sta', b"\xff\xfe", b"[]", b'{"name": "b"}'])
def test_a_torn_line_is_no_result_and_spoils_no_other(tmp_path: Path, torn: bytes) -> None:
    run = RunFolders(tmp_path).begin("r1", {})
    run.append(result("a"))
    with (run.path / "results.jsonl").open("ab") as file:
        file.write(torn)
    run.append(result("c"))
    assert list(run.results()) == ["a", "c"]


def test_the_last_result_of_a_stage_counts(tmp_path: Path) -> None:
    run = RunFolders(tmp_path).begin("r1", {})
    run.append(result("a", key="old"))
    run.append(result("a", key="new"))
    assert run.results()["a"].key == "new"


def test_runs_are_listed_newest_first_and_found_by_their_end(tmp_path: Path) -> None:
    runs = RunFolders(tmp_path)
    for name in ("01AAA1", "01BBB1", "01CCC2"):
        runs.begin(name, {})
    assert [run.run_id for run in runs.all()] == ["01CCC2", "01BBB1", "01AAA1"]
    assert runs.get("C2").run_id == "01CCC2"
    with pytest.raises(NotFoundError, match="no run 'X'"):
        runs.get("X")
    with pytest.raises(NotFoundError, match="2 runs end with this"):
        runs.get("1")


def test_a_finished_run_has_its_report(tmp_path: Path) -> None:
    run = RunFolders(tmp_path).begin("r1", {})
    run.finish({"verdict": "PASS"})
    assert (run.finished, run.report()) == (True, {"verdict": "PASS"})


def test_the_logs_of_attempts_are_in_order_and_of_the_named_stage(tmp_path: Path) -> None:
    run = RunFolders(tmp_path).begin("r1", {})
    for name, attempt in (("a", 10), ("a", 2), ("a.b", 1), ("ab", 1)):
        log = run.output(StageSpec(name, run=("x",)), attempt)
        log.feed(b"text")
        log.close()
    assert [path.name for path in run.log_files("a")] == ["a.2.log", "a.10.log"]


def test_a_short_log_is_whole(tmp_path: Path) -> None:
    log = LoggedTail(tmp_path / "log")
    log.feed(b"one\n")
    log.feed(b"\xff two\n")
    log.close()
    assert (tmp_path / "log").read_bytes() == b"one\n\xff two\n"


def test_a_long_log_keeps_its_beginning_and_its_end_and_says_what_is_missing(tmp_path: Path) -> None:
    log = LoggedTail(tmp_path / "log", head_bytes=10, tail_bytes=8)
    for number in range(10):
        log.feed(f"line{number}\n".encode())
        assert (tmp_path / "log").stat().st_size <= 10
    log.close()
    assert (tmp_path / "log").read_text() == (
        "line0\nline\n[42 bytes between this and the end were not kept]\n8\nline9\n"
    )
    assert log.kept_bytes <= 16


def test_a_log_that_just_overflows_loses_nothing(tmp_path: Path) -> None:
    log = LoggedTail(tmp_path / "log", head_bytes=4, tail_bytes=8)
    log.feed(b"0123456789")
    log.close()
    assert (tmp_path / "log").read_bytes() == b"0123456789"


def test_a_disk_that_refuses_ends_the_file_and_not_the_stage(tmp_path: Path) -> None:
    log = LoggedTail(tmp_path / "no folder" / "log")
    log.feed(b"text")
    log.close()
    assert log.text() == "text"


def test_a_stage_that_prints_nothing_has_no_log(tmp_path: Path) -> None:
    LoggedTail(tmp_path / "log").close()
    assert not (tmp_path / "log").exists()


def test_cleaning_keeps_what_was_used_last(tmp_path: Path) -> None:
    entries, blobs = tmp_path / "entries", tmp_path / "blobs"
    for index, name in enumerate(("aa1", "bb2", "cc3")):
        (blobs / name[:2]).mkdir(parents=True)
        (blobs / name[:2] / name[2:]).write_bytes(b"x" * 1000)
        entries.mkdir(exist_ok=True)
        entry = entries / f"{name}.json"
        entry.write_text(f'{{"result": {{"files": {{"f": "sha256:{name}+x"}}}}}}')
        os.utime(entry, (index, index))
    assert clean_cache(tmp_path, 2200) == 1000
    assert sorted(path.name for path in entries.iterdir()) == ["bb2.json", "cc3.json"]
    assert clean_cache(tmp_path, 0) == 2000
    assert list(blobs.glob("*/*")) == []


def test_a_second_run_at_the_same_time_is_refused_and_a_later_one_is_not(tmp_path: Path) -> None:
    path = tmp_path / "project/.shipway/pipeline/lock"
    refusal = r"another run of the pipeline is under way in .*project"
    with only_run(path), pytest.raises(ConflictError, match=refusal), only_run(path):
        pass
    with only_run(path):
        assert path.exists()


def test_cleaning_where_nothing_is_frees_nothing(tmp_path: Path) -> None:
    assert clean_cache(tmp_path / "none", 0) == 0


def test_jobs_run_beside_each_other_and_not_beside_a_run(tmp_path: Path) -> None:
    lock = tmp_path / ".shipway" / "pipeline" / "lock"
    refused = pytest.raises(ConflictError, match="another run of the pipeline is under way")
    with job_beside_no_run(lock), job_beside_no_run(lock), refused, only_run(lock):
        pass
    with only_run(lock), refused, job_beside_no_run(lock):
        pass
    with job_beside_no_run(lock):
        pass


def test_a_run_is_under_way_while_it_is_worked_on(tmp_path: Path) -> None:
    run = RunFolders(tmp_path).begin("r1", {})
    assert not run.under_way
    with run.worked_on():
        assert run.under_way
    assert not run.under_way
