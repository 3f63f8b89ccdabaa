from shipway.services.readiness.files import read_repository


def test_files_are_those_that_git_lists_and_texts_those_that_are_text(tmp_path):
    (tmp_path / "a.py").write_text("x = 1\n")
    (tmp_path / "b.bin").write_bytes(b"\0\1")
    (tmp_path / "c.txt").write_bytes(b"\xff")
    (tmp_path / "large.csv").write_text("x" * 300_000)
    (tmp_path / "untold.py").write_text("")
    (tmp_path / "link").symlink_to("/etc/hostname")

    found = read_repository(tmp_path, {"a.py", "b.bin", "c.txt", "large.csv", "link", "gone.py", ".shipway/state.db"})

    assert found.paths == {"a.py", "b.bin", "c.txt", "large.csv"}
    assert dict(found.texts) == {"a.py": "x = 1\n"}


def test_without_git_folders_that_nobody_commits_are_left_out(tmp_path):
    for path in ("src/a.py", ".venv/b.py", "node_modules/c.js", ".shipway/d", ".github/workflows/e.yml"):
        (tmp_path / path).parent.mkdir(parents=True)
        (tmp_path / path).write_text("x")

    assert read_repository(tmp_path, None).paths == {"src/a.py", ".github/workflows/e.yml"}
