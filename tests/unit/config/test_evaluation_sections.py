import pytest
from pydantic import ValidationError

from shipway.config.project import Project
from shipway.config.sections.datasets import DatasetEntry
from shipway.config.sections.judges import JudgeEntry


def test_a_judge_of_kind_llm_names_the_model_that_is_asked():
    with pytest.raises(ValidationError, match="needs model: the alias of an entry of models"):
        JudgeEntry(kind="llm")

    assert JudgeEntry(kind="llm", model="big").model == "big"


def test_an_embedded_judge_asks_no_model():
    with pytest.raises(ValidationError, match="asks no model; remove model, or use kind: llm"):
        JudgeEntry(kind="embedded", model="big")


@pytest.mark.parametrize("delimiter", ["", ";;"])
def test_a_delimiter_is_one_character(delimiter):
    with pytest.raises(ValidationError, match="delimiter"):
        DatasetEntry(path="cases.csv", delimiter=delimiter)


def test_a_judges_model_must_be_one_of_the_project():
    body = {
        "app": "x",
        "models": {"small": {"engine": "echo", "model": "echo"}},
        "prompts": {"p": "p.yaml"},
        "routes": {"chat": {"kind": "chat", "model": "small", "prompt": "p"}},
        "judges": {"strict": {"kind": "llm", "model": "big"}},
    }

    with pytest.raises(ValidationError, match=r"judges\.strict\.model: 'big' is not in models \(it has small\)"):
        Project.model_validate(body)
