from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import ValidationError

from shipway.config.project import Project


def undescribed(schema: dict[str, Any]) -> Iterator[str]:
    for title, definition in [("Project", schema), *schema["$defs"].items()]:
        for name, field in definition.get("properties", {}).items():
            # A field that says the same as its section is written without a description of its own.
            section = schema["$defs"].get(field.get("$ref", "").rsplit("/", 1)[-1], {})
            if not field.get("description") and not section.get("description"):
                yield f"{title}.{name}"


def test_every_setting_is_described_in_the_json_schema():
    assert list(undescribed(Project.model_json_schema())) == []


def test_every_section_refuses_unknown_keys_and_changes():
    for title, definition in Project.model_json_schema()["$defs"].items():
        assert definition.get("additionalProperties") is False or "enum" in definition, title
    project = Project(app="a", routes={"ask": {"kind": "http", "url": "http://127.0.0.1:1"}})
    with pytest.raises(ValidationError, match="frozen"):
        project.app = "b"
