"""The cases that a project names are read before anything is made of it."""

from pathlib import Path

import anyio
import pytest

from shipway.config.loading import load_project
from shipway.core.errors import DatasetError
from shipway.evals.model import Dataset
from shipway.services.project_dataset import project_dataset

BARE = """\
app: shop
models: {small: {engine: echo, model: echo}}
routes: {chat: {kind: chat, model: small}}
"""
GATE = "gates: [{metric: correct, min: 0.5}]\n"


def read(root: Path, project: str, cases: str | None = None) -> Dataset | None:
    (root / "shipway.yaml").write_text(project)
    if cases is not None:
        (root / "evals").mkdir()
        (root / "evals" / "cases.jsonl").write_text(cases)
    return anyio.run(project_dataset, load_project(root, {}))


def test_a_project_that_judges_nothing_needs_no_cases(tmp_path):
    assert read(tmp_path, BARE) is None


def test_cases_at_the_usual_place_are_read_without_being_named(tmp_path):
    with pytest.raises(DatasetError, match=r"^evals/cases\.jsonl:1: not JSON"):
        read(tmp_path, BARE, "{'id': 1}")


@pytest.mark.parametrize(
    ("settings", "place"),
    [
        (GATE, "shipway.yaml"),
        ("evals:\n  dataset: evals/cases.jsonl\n", "shipway.yaml:5"),
        ("evals: {repeats: 2}\n" + GATE, "shipway.yaml:4"),
    ],
    ids=["a gate alone", "named", "a gate and a section"],
)
def test_missing_cases_are_named_with_the_line_that_asks_for_them(tmp_path, settings, place):
    with pytest.raises(DatasetError) as caught:
        read(tmp_path, BARE + settings)
    assert str(caught.value) == (
        f"{place}: evals.dataset: evals/cases.jsonl: no such file; write the cases or correct the path"
    )


def test_a_folder_in_place_of_the_cases_is_named(tmp_path):
    (tmp_path / "evals" / "cases.jsonl").mkdir(parents=True)
    with pytest.raises(DatasetError, match=r"evals\.dataset: evals/cases\.jsonl: cannot be read: Is a directory"):
        read(tmp_path, BARE)


def test_only_the_cases_of_the_projects_split_count(tmp_path):
    cases = '{"id": "a", "question": "A?", "split": "calibration"}\n{"id": "b", "question": "B?"}\n'
    found = read(tmp_path, BARE, cases)
    assert found is not None
    assert [case.id for case in found.cases] == ["b"]
