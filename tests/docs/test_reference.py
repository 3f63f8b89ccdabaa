"""The reference says what the code does: no command, setting, field, metric, error or endpoint is left out."""

import re
from pathlib import Path

import pytest

from shipway.config.project import Project
from shipway.config.yaml_source import parse_yaml
from shipway.core import errors
from shipway.core.errors import GateRefusedError, ShipwayError
from shipway.entrypoints import docs_reference
from shipway.entrypoints.cli.main import COMMANDS
from shipway.entrypoints.failures import failure_of
from shipway.evals.assertions import LATER
from shipway.evals.case_fields import FIELDS
from shipway.evals.metrics import METRICS
from shipway.gateway.validate import Endpoint
from shipway.telemetry.families import FAMILIES, WORKER
from shipway.telemetry.request_log import OWN_FIELDS, SHARED_FIELDS

# What a part of a project file stands in, so that it is valid on its own.
PLUGIN = Path(docs_reference.__file__).with_name("pytest_plugin.py")
_REST = """
app: example
models: { small: { engine: echo, model: echo } }
prompts: { answer: prompts/answer.yaml }
routes: { ask: { kind: chat, model: small } }
"""


@pytest.mark.parametrize("name", ["cli.md", "settings.md", "stages.md"])
def test_a_generated_page_is_what_the_generator_writes(page, name):
    assert page(f"docs/reference/{name}").text == docs_reference.pages()[name]


def test_the_generator_writes_its_pages_into_a_folder(tmp_path):
    docs_reference.main(tmp_path)

    assert {path.name for path in tmp_path.iterdir()} == {"cli.md", "settings.md", "stages.md"}


def test_every_command_and_every_subcommand_has_a_heading():
    text = docs_reference.cli_reference()

    assert [name for name in COMMANDS if f"\n## shipway {name}\n" not in text] == []
    assert "\n### shipway rollout abort\n" in text
    assert "`--override-gate VALUE`" in text


def test_every_section_of_the_project_file_has_a_heading_and_every_key_a_row():
    text = docs_reference.settings_reference()

    assert "\n## corpus.sources[]\n" in text
    assert "\n## models.NAME.price\n" in text
    assert [name for name in Project.model_fields if f"| `{name}` |" not in text] == []


def test_every_setting_says_what_it_means():
    rows = [line.split(" | ") for line in docs_reference.settings_reference().splitlines() if line.startswith("| `")]

    assert len(rows) > 60
    assert [row for row in rows if not row[-1].strip(" |")] == []


def test_project_files_in_the_documentation_are_valid(pages):
    blocks = [
        block for page in pages for block in page.blocks if block.language == "yaml" and "# shipway.yaml" in block.text
    ]

    assert len(blocks) >= 4
    for block in blocks:
        data = parse_yaml(block.text, block.place).data
        whole = not block.text.startswith("# shipway.yaml (part)")
        Project.model_validate(data if whole else parse_yaml(_REST, "rest").data | data)


@pytest.mark.parametrize("name", FIELDS)
def test_a_field_of_a_case_is_documented(page, name):
    assert f"| `{name}` |" in page("docs/reference/dataset.md").text


@pytest.mark.parametrize("name", LATER)
def test_an_assertion_of_a_later_version_is_named_as_such(page, name):
    assert f"`{name}`" in page("docs/reference/dataset.md").text


@pytest.mark.parametrize("metric", METRICS.values(), ids=lambda metric: metric.name)
def test_a_metric_is_documented_with_its_direction(page, metric):
    row = re.search(rf"^\| `{metric.name}` \|.*\| (\w+) \|$", page("docs/reference/metrics.md").text, re.MULTILINE)

    assert row is not None
    assert row[1] == metric.direction


@pytest.mark.parametrize(
    "error",
    [
        kind
        for kind in vars(errors).values()
        if isinstance(kind, type) and issubclass(kind, ShipwayError) and kind is not ShipwayError
    ],
)
def test_an_error_is_documented_with_its_exit_code_and_status(page, error):
    blank = error.__new__(error)
    if isinstance(blank, GateRefusedError):
        expected = f"| `{error.__name__}` | that of its verdict | 409 |"
    else:
        failure = failure_of(blank)
        expected = f"| `{error.__name__}` | {failure.exit_code} | {failure.http_status} |"

    assert expected in page("docs/reference/exit-codes.md").text


@pytest.mark.parametrize(
    "path",
    [
        *(f"/v1/{endpoint}" for endpoint in Endpoint),
        *("/v1/models", "/generate", "/rag_answer", "/svc/ROUTE/PATH", "/version", "/metrics", "/health", "/ready"),
    ],
)
def test_an_endpoint_of_the_gateway_is_documented(page, path):
    assert re.search(rf"`(?:GET|POST|ANY) {re.escape(path)}`", page("docs/reference/http-api.md").text)


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_a_metric_is_documented_with_kind_labels_and_meaning(page, family):
    names = family.labels if family.of_host else (WORKER, *family.labels)
    labels = ", ".join(f"`{name}`" for name in names)
    row = f"| `{family.sample}` | {family.kind} | {labels} | {family.help} |"

    assert row in page("docs/reference/telemetry.md").text


def test_every_metric_that_a_page_names_exists(pages):
    known = {family.name for family in FAMILIES} | {family.sample for family in FAMILIES}
    known |= {f"{family.name}_{end}" for family in FAMILIES if family.buckets for end in ("bucket", "sum", "count")}
    # The fixtures of the pytest plugin look alike, and its `shipway_verdict` is a property of a test report.
    # It is read, not imported: pytest rewrites a plugin as it loads it.
    known |= {*re.findall(r"def (shipway_\w+)", PLUGIN.read_text(encoding="utf-8")), "shipway_verdict"}
    named = {name for page in pages for name in re.findall(r"\bshipway_\w+\b", page.text)}

    assert {name for name in named if not name.startswith("shipway_engine_")} <= known


def test_every_field_of_a_request_s_log_line_is_documented(page):
    section = page("docs/reference/telemetry.md").text.partition("## Log line of a request\n")[2].partition("\n## ")[0]
    documented = re.findall(r"`(\w+)`", "\n".join(re.findall(r"^\| (`.+?) \|", section, re.MULTILINE)))

    assert sorted(documented) == sorted([*SHARED_FIELDS, *OWN_FIELDS])
