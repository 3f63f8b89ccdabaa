"""What single pages promise to hold."""

import re
from pathlib import Path

import pytest

from shipway.core.verdicts import Verdict
from shipway.entrypoints.failures import VERDICT_EXIT_CODES

SOURCE = Path(__file__).parents[2] / "src" / "shipway"
FOLDERS = sorted(path.parent.name for path in SOURCE.glob("*/__init__.py"))


def test_the_changelog_has_an_unreleased_section(page):
    headings = re.findall(r"^## (.+)$", page("CHANGELOG.md").text, re.MULTILINE)

    assert headings[0] == "Unreleased"


@pytest.mark.parametrize("folder", FOLDERS)
def test_the_architecture_tells_why_a_folder_exists(page, folder):
    assert f"| `{folder}/` |" in page("docs/architecture.md").text


@pytest.mark.parametrize("name", ["README.md", "docs/reference/exit-codes.md"])
@pytest.mark.parametrize("verdict", list(Verdict))
def test_a_verdict_stands_in_the_row_of_its_exit_code(page, name, verdict):
    rows = dict(re.findall(r"^\| (\d) \| (.+) \|$", page(name).text, re.MULTILINE))

    assert [code for code, text in rows.items() if re.search(rf"\b{verdict}\b", text)] == [
        str(VERDICT_EXIT_CODES[verdict])
    ]


def test_every_decision_says_context_decision_and_consequences(pages):
    decisions = [page for page in pages if page.name.startswith("docs/decisions/")]

    assert len(decisions) >= 9
    for decision in decisions:
        assert re.findall(r"^## (.+)$", decision.text, re.MULTILINE) == ["Context", "Decision", "Consequences"]
    numbers = [int(Path(decision.name).name[:4]) for decision in decisions]
    assert numbers == list(range(1, len(numbers) + 1))


def test_the_tutorials_program_is_valid_python(pages):
    programs = [block for page in pages for block in page.blocks if block.language == "python"]

    assert len(programs) >= 2
    for program in programs:
        compile(program.text, program.place, "exec")
