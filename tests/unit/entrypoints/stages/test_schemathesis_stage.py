"""schemathesis as a stage: a script stands for it, so that what it is given can be seen."""

import sys

import pytest

from shipway.core.verdicts import Verdict
from shipway.entrypoints.builtin_stages import builtin_stages
from shipway.pipeline.ports import StageContext
from shipway.pipeline.spec import StageSpec

pytestmark = pytest.mark.anyio

# A service with one operation that does not keep its document, in the form that --report junit has.
JUNIT = (
    '<?xml version="1.0" ?><testsuites><testsuite name="schemathesis" tests="2" failures="1">'
    '<testcase name="GET /items" time="0.1"><failure type="failure" message="Response violates schema"/></testcase>'
    '<testcase name="GET /health" time="0.1"/></testsuite></testsuites>'
)
SCRIPT = f"""#!/bin/sh
[ "$1" = --version ] && {{ echo "schemathesis, version 4.32.5"; exit 0; }}
echo "$@" > called
[ "$1" = --config-file ] && cat "$2" > config
while [ $# -gt 0 ]; do [ "$1" = --report-junit-path ] && echo '{JUNIT}' > "$2"; shift; done
echo "the key is $SHIPWAY_KEY" > seen
exit 1
"""


@pytest.fixture
def project(tmp_path, monkeypatch):
    (tmp_path / "bin").mkdir()
    (tmp_path / "project").mkdir()
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:/usr/bin:/bin")
    monkeypatch.setattr(sys, "executable", str(tmp_path / "bin" / "python"))
    return tmp_path / "project"


async def run(project, **options):
    context = StageContext("run", 1, {})
    stage = StageSpec(
        "api", uses="schemathesis", with_={"url": "http://127.0.0.1:9", "schema": "/openapi.json", **options}
    )
    return await builtin_stages(project)["schemathesis"](stage, context), context.output.text()


def install(project):
    script = project.parent / "bin" / "schemathesis"
    script.write_text(SCRIPT)
    script.chmod(0o755)


async def test_each_operation_is_a_finding(project):
    install(project)
    outcome, _ = await run(project)
    assert outcome.verdict is Verdict.FAIL
    rows = [(row["name"], row["verdict"]) for row in outcome.outputs["findings"]["items"]]
    assert rows == [("GET /items", "FAIL"), ("GET /health", "PASS")]
    assert (project / "called").read_text().startswith("run http://127.0.0.1:9/openapi.json --url http://127.0.0.1:9")


async def test_the_key_reaches_the_program_in_a_variable_and_no_argument(project, monkeypatch):
    install(project)
    monkeypatch.setenv("API_KEY", "very-secret")
    outcome, said = await run(project, key_env="API_KEY")
    assert "very-secret" in (project / "seen").read_text()
    assert "very-secret" not in (project / "called").read_text() + (project / "config").read_text() + said + str(
        outcome
    )
    assert (project / "config").read_text() == 'headers = { Authorization = "Bearer ${SHIPWAY_KEY}" }\n'


async def test_without_the_program_it_is_an_error_that_says_what_to_install(project):
    outcome, _ = await run(project)
    assert (outcome.verdict, outcome.problem) == (
        Verdict.ERROR,
        "schemathesis is not installed: pip install schemathesis",
    )
