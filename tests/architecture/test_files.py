"""What must not stand in any file of the repository."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# Put together here, so that this file does not hold what it looks for.
REGISTRIES = [
    ".".join(parts)
    for parts in (
        ("pypi", "org"),
        ("python" + "hosted", "org"),
        ("registry", "npmjs", "org"),
        ("registry", "yarnpkg", "com"),
        ("static", "crates", "io"),
        ("index", "crates", "io"),
        ("proxy", "golang", "org"),
        ("conda", "anaconda", "org"),
    )
]
INDEX_OPTIONS = ["--" + option for option in ("index-url", "extra-index-url", "find-links", "trusted-host")]


def machine_paths() -> list[str]:
    """Return the folders of the machine that runs this: none of them may have been written into a file."""
    folders = {str(ROOT), sys.prefix, sys.base_prefix, str(Path.home())}
    found = {f"{folder}/" for folder in folders if folder.count("/") > 1 and folder != "/usr/local"}
    # The home of who builds in a container, whoever runs this.
    return sorted({*found, "/" + "root/"})


def files() -> Iterator[tuple[str, str]]:
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=True,
        timeout=60,
    ).stdout
    for name in sorted(listed.decode().split("\0")):
        path = ROOT / name
        data = path.read_bytes() if name and path.is_file() else b""
        if b"\0" not in data:
            yield name, data.decode(errors="replace")


@pytest.fixture(scope="module")
def texts() -> dict[str, str]:
    found = dict(files())
    assert "pyproject.toml" in found
    return found


def holding(texts: dict[str, str], unwanted: list[str]) -> list[str]:
    return [
        f"{name}:{number}: {needle}"
        for name, text in texts.items()
        for needle in unwanted
        if needle in text
        for number, line in enumerate(text.splitlines(), start=1)
        if needle in line
    ]


def test_no_file_names_a_package_registry(texts):
    assert holding(texts, REGISTRIES) == []


def test_no_requirements_file_chooses_where_packages_come_from(texts):
    requirements = {name: text for name, text in texts.items() if name.startswith("requirements/")}

    assert requirements
    assert holding(requirements, INDEX_OPTIONS) == []


def unhashed(text: str) -> list[str]:
    """Return the requirements of a lock file that no hash pins."""
    entries = text.replace("\\\n", " ").splitlines()
    lines = [entry for entry in entries if entry.strip() and not entry.lstrip().startswith("#")]
    return [line for line in lines if "==" not in line or "--hash=sha256:" not in line]


def test_every_requirement_is_pinned_by_hash(texts):
    locked = {name: text for name, text in texts.items() if name.startswith("requirements/") and name.endswith(".txt")}
    locked["requirements/models.txt"] = texts["src/shipway/services/models.txt"]

    assert len(locked) >= 4
    assert {name: unhashed(text) for name, text in locked.items() if unhashed(text)} == {}
    assert unhashed("# a comment\na==1 \\\n    --hash=sha256:00\nb==2\nc>=1 \\\n    --hash=sha256:00\n") == [
        "b==2",
        "c>=1      --hash=sha256:00",
    ]


def test_no_file_holds_a_path_of_this_machine(texts):
    assert holding(texts, machine_paths()) == []


def test_what_is_looked_for_would_be_found():
    bad = {"a.txt": f"x\nsee https://{REGISTRIES[0]}/simple and {ROOT}/src\n"}

    assert holding(bad, REGISTRIES) == [f"a.txt:2: {REGISTRIES[0]}"]
    assert holding(bad, [f"{ROOT}/"]) == [f"a.txt:2: {ROOT}/"]
