"""Log files that are full, with one writer and with several."""

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from shipway.adapters.local_process.log_files import CopiedLogs, LogFile, LogLimits, last_lines, own_log

LIMITS = LogLimits(max_bytes=100, kept=2)


def opened(path: Path) -> int:
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)


@pytest.fixture
def log(tmp_path):
    """A descriptor that writes into `tmp_path/gateway.log`."""
    descriptor = opened(tmp_path / "gateway.log")
    yield descriptor
    os.close(descriptor)


def texts(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in folder.glob("gateway*")}


def test_a_full_file_is_put_away_and_the_same_descriptor_goes_on_in_a_new_one(tmp_path, log):
    file = LogFile(tmp_path / "gateway.log", LIMITS, (log,))
    for letter in "abcd":
        os.write(log, letter.encode() * 100 + b"\n")
        file.look()
    os.write(log, b"e\n")
    file.look()

    assert texts(tmp_path) == {
        "gateway.log": "e\n",
        "gateway.log.1": "d" * 100 + "\n",
        "gateway.log.2": "c" * 100 + "\n",
    }


def test_a_file_that_is_not_full_stays_and_so_does_every_file_without_a_limit(tmp_path, log):
    os.write(log, b"a" * 100)
    LogFile(tmp_path / "gateway.log", LIMITS, (log,)).look()
    os.write(log, b"a" * 900)
    LogFile(tmp_path / "gateway.log", LogLimits(0, 2), (log,)).look()

    assert texts(tmp_path) == {"gateway.log": "a" * 1000}


def test_without_files_to_keep_the_full_one_goes(tmp_path, log):
    os.write(log, b"a" * 101)
    LogFile(tmp_path / "gateway.log", LogLimits(100, 0), (log,)).look()
    os.write(log, b"b")

    assert texts(tmp_path) == {"gateway.log": "b"}


def test_fewer_files_to_keep_than_before_are_kept(tmp_path, log):
    for number in range(1, 6):
        (tmp_path / f"gateway.log.{number}").write_text(str(number))
    os.write(log, b"a" * 101)
    LogFile(tmp_path / "gateway.log", LIMITS, (log,)).look()

    assert set(texts(tmp_path)) == {"gateway.log", "gateway.log.1", "gateway.log.2"}
    assert (tmp_path / "gateway.log.2").read_text() == "1"


@pytest.mark.parametrize("how", ["renamed", "removed"])
def test_a_file_that_somebody_else_took_away_is_begun_anew(tmp_path, log, how):
    path = tmp_path / "gateway.log"
    path.rename(tmp_path / "gateway.log.9") if how == "renamed" else path.unlink()
    LogFile(path, LIMITS, (log,)).look()
    os.write(log, b"b")

    assert path.read_text() == "b"


def test_another_output_of_the_process_is_left_alone(tmp_path, log):
    other = opened(tmp_path / "elsewhere")
    os.write(log, b"a" * 101)
    LogFile(tmp_path / "gateway.log", LIMITS, (log, other)).look()
    os.write(other, b"x")
    os.close(other)

    assert (tmp_path / "elsewhere").read_text() == "x"


def test_what_is_not_ours_is_copied_and_cut_when_nobody_else_does_it(tmp_path, log):
    path = tmp_path / "gateway.log"
    os.write(log, b"a" * 151)
    copied = CopiedLogs(tmp_path, LIMITS)
    copied.look()
    copied.look()
    assert path.stat().st_size == 151

    copied.look()
    os.write(log, b"b")

    assert texts(tmp_path) == {"gateway.log": "b", "gateway.log.1": "a" * 151}


def test_the_last_lines_reach_back_into_the_files_that_were_put_away(tmp_path):
    path = tmp_path / "gateway.log"
    path.write_text("e\nf\n")
    (tmp_path / "gateway.log.1").write_text("c\nd\n")
    (tmp_path / "gateway.log.2").write_text("a\nb\n")

    assert last_lines(path, 1) == ["f"]
    assert last_lines(path, 3) == ["d", "e", "f"]
    assert last_lines(path, 50) == list("abcdef")
    with pytest.raises(FileNotFoundError):
        last_lines(tmp_path / "nothing.log", 1)


def test_the_last_lines_of_a_large_file_are_found_without_its_beginning(tmp_path):
    path = tmp_path / "gateway.log"
    path.write_text("".join(f"{number:0100d}\n" for number in range(5000)))

    assert last_lines(path, 1500) == [f"{number:0100d}" for number in range(3500, 5000)]


WRITER = textwrap.dedent(
    """
    import os
    import sys
    from pathlib import Path
    from shipway.adapters.local_process.log_files import LogFile, LogLimits, own_log
    path = own_log(Path(sys.argv[1]))
    assert path is not None, "the output is no log of the folder"
    file = LogFile(path, LogLimits(2000, 10_000))
    for number in range(600):
        os.write(1, f"{sys.argv[2]} {number} {'x' * 40}\\n".encode())
        file.look()
    """
)


def test_several_processes_that_share_a_file_lose_and_repeat_no_line(tmp_path):
    path = tmp_path / "gateway.log"
    descriptors = [opened(path) for _ in range(4)]
    started = [
        subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path), str(who)], stdout=out, stderr=out)
        for who, out in enumerate(descriptors)
    ]
    codes = [process.wait(60) for process in started]
    for descriptor in descriptors:
        os.close(descriptor)

    lines = [line for part in tmp_path.glob("gateway.log*") for line in part.read_text().splitlines()]
    assert codes == [0] * 4, lines[-5:]
    assert sorted(lines) == sorted(f"{who} {number} {'x' * 40}" for who in range(4) for number in range(600))
    assert len(list(tmp_path.glob("gateway.log.*"))) > 10


def test_an_output_that_is_no_log_of_the_project_is_not_touched(tmp_path):
    logs = tmp_path / "logs"
    logs.mkdir()
    script = f"from pathlib import Path\nimport sys\nfrom {own_log.__module__} import own_log\n"
    script += f"sys.stderr.write(str(own_log(Path({str(logs)!r}))))"
    for name in ("mine.log", "logs/mine.txt"):
        with (tmp_path / name).open("w") as out:
            done = subprocess.run([sys.executable, "-c", script], stdout=out, stderr=subprocess.PIPE, check=True)
        assert done.stderr == b"None"
