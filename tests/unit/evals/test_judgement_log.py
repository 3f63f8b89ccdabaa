import os

import pytest

from shipway.core.canonical import digest_json
from shipway.core.errors import StoreError
from shipway.evals.judgement import Claim, Judgement
from shipway.evals.judgement_log import JudgementLog
from shipway.evals.judging import Judged

JUDGE = digest_json("judge")
FOUND = Judgement(
    "faithfulness",
    0.5,
    "half",
    (Claim("a", supported=True, evidence="e"), Claim("b", None)),
    1,
    (0.5, 0.5),
    1.0,
    10,
    5,
    0.1,
)


def judged(case="a", judgement=FOUND, error=""):
    return Judged(case, 0, "faithfulness", JUDGE, judgement, error)


def test_what_was_written_is_kept_over_a_restart(tmp_path):
    path = tmp_path / "judgements.jsonl"
    log = JudgementLog(path, "rel_1")
    log.write(judged())
    log.write(judged("b", None, "timeout"))
    log.close()

    assert list(JudgementLog(path, "rel_1").kept(JUDGE)) == [judged()]
    assert list(JudgementLog(path, "rel_2").kept(JUDGE)) == []
    assert list(JudgementLog(path, "rel_1").kept(digest_json("other"))) == []


def test_a_line_is_on_disk_when_write_returns(tmp_path):
    log = JudgementLog(tmp_path / "j", "t")
    log.write(judged())

    assert (tmp_path / "j").read_bytes().endswith(b"}\n")
    assert (tmp_path / "j").stat().st_mode & 0o777 == 0o600


def test_a_torn_line_is_dropped_and_the_next_one_stands_on_its_own(tmp_path):
    path = tmp_path / "j"
    JudgementLog(path, "t").write(judged())
    whole = path.read_bytes()
    path.write_bytes(whole + whole[:40])

    log = JudgementLog(path, "t")
    log.write(judged("b"))

    assert [item.case_id for item in log.kept(JUDGE)] == ["a", "b"]


@pytest.mark.parametrize("line", [b"[]", b"1", b"{}", b'{"case": 1}', b'{"judgement": []}'])
def test_a_line_of_another_form_is_dropped(tmp_path, line):
    (tmp_path / "j").write_bytes(line + b"\n")

    assert list(JudgementLog(tmp_path / "j", "t").kept(JUDGE)) == []


def test_a_folder_that_is_not_there_is_said(tmp_path):
    with pytest.raises(StoreError, match="cannot be written"):
        JudgementLog(tmp_path / "no" / "j", "t")


def test_a_full_disk_is_said(tmp_path, monkeypatch):
    log = JudgementLog(tmp_path / "j", "t")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(StoreError, match="the disk is full"):
        log.write(judged())
