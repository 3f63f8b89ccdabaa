import stat

import orjson
import pytest

from shipway.adapters.otlp.file import PrivateFile, TraceFile
from shipway.telemetry.otlp import CLIENT, Source, Span

SPAN = Span("chat small", CLIENT, "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331", "", 1, 2, {"a": "b"})


def test_each_batch_is_one_line_of_otlp_json(tmp_path):
    target = TraceFile(PrivateFile(tmp_path / "traces" / "gateway-0.jsonl"), Source({"service.name": "helpdesk"}, "1"))
    assert target.export([SPAN, SPAN]) == 0
    assert target.export([SPAN]) == 0
    target.close()
    lines = (tmp_path / "traces" / "gateway-0.jsonl").read_bytes().splitlines()
    counts = [len(orjson.loads(line)["resourceSpans"][0]["scopeSpans"][0]["spans"]) for line in lines]
    assert counts == [2, 1]


def test_only_the_owner_may_read_it(tmp_path):
    file = PrivateFile(tmp_path / "restricted" / "questions.jsonl")
    file.append(b"{}\n")
    file.close()
    assert stat.S_IMODE(file.path.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.path.parent.stat().st_mode) == 0o700


def test_a_full_file_makes_room_and_the_one_before_goes(tmp_path):
    file = PrivateFile(tmp_path / "lines", max_bytes=10)
    for number in range(5):
        file.append(b"line%d\n" % number)
    file.close()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["lines", "lines.1"]
    assert (tmp_path / "lines").read_bytes() == b"line4\n"
    assert (tmp_path / "lines.1").read_bytes() == b"line3\n"


def test_a_file_that_exists_is_continued(tmp_path):
    for number in range(2):
        file = PrivateFile(tmp_path / "lines")
        file.append(b"%d\n" % number)
        file.close()
    assert (tmp_path / "lines").read_bytes() == b"0\n1\n"


def test_a_place_that_cannot_be_written_is_an_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file"):
        PrivateFile(tmp_path / "file" / "lines").append(b"x\n")
