import json
from pathlib import Path

from tests.unit.readiness.ready_app import App, file

from shipway.readiness.audit import audit
from shipway.readiness.model import Area
from shipway.readiness.render import as_dict, markdown, reference, text_lines

FOUND = audit(file("Dockerfile", None)(App()).facts())
PAGE = Path(__file__).parents[3] / "docs" / "reference" / "readiness.md"


def test_the_reference_page_has_the_tables_of_the_code():
    assert reference() in PAGE.read_text(encoding="utf-8")


def test_lines_tell_every_check_with_evidence_and_what_to_do():
    text = "\n".join(text_lines(FOUND))

    assert "  FAIL         DOCKER-1  The image runs as a user that is not root\n" in text
    assert f"{'':<25}there is no Dockerfile\n{'':<25}-> write a Dockerfile: `FROM" in text
    assert f"{'':<25}shipway.yaml:33 rollout.steps[0]: 10% first\n" in text
    assert 'shipway readiness attest SEC-2 --statement "..." --by NAME' in text
    assert "level 0 of 4, prototype" in text
    assert "level 1 is held up by DOCKER-1, DOCKER-3, DOCKER-4\nnext:\n  1. write a Dockerfile" in text


def test_areas_narrow_what_is_shown_and_never_the_level():
    lines = list(text_lines(FOUND, (Area.SECURITY,)))

    assert lines[0] == "security"
    assert not [line for line in lines if " TEST-1 " in line]
    assert "level 0 of 4" in "\n".join(lines)
    assert {check["area"] for check in as_dict(FOUND, (Area.SECURITY,))["checks"]} == {"security"}


def test_markdown_has_a_table_for_each_area_whose_cells_hold_together():
    page = markdown(FOUND)
    rows = [line for line in page.splitlines() if line.startswith("| ")]

    assert page.startswith("# Readiness\n\n**Level 0** of 4")
    assert [line.removeprefix("## ") for line in page.splitlines() if line.startswith("## ")][1:] == [
        area.value for area in Area
    ]
    assert {row.replace("\\|", "").count("|") for row in rows} == {4}


def test_json_says_all_that_the_lines_say():
    found = json.loads(json.dumps(as_dict(FOUND)))
    docker = next(check for check in found["checks"] if check["id"] == "DOCKER-1")

    assert (docker["state"], docker["level"], docker["why"]) == ("FAIL", 1, "there is no Dockerfile")
    assert found["counts"]["FAIL"] == sum(check["state"] == "FAIL" for check in found["checks"])
    assert len(found["next_steps"]) == 3
    assert len(found["checks"]) == 70
