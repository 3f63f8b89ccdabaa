"""Linters of what an application is deployed with: YAML, Dockerfiles, Helm charts, Kubernetes manifests, Terraform.

Source: the documentation of yamllint (`parsable`), hadolint (`--format json`), helm (`lint`), kubeconform (`-output
json`) and terraform (`fmt -check`).
"""

import re
from collections.abc import Iterator

from shipway.core.findings import Finding
from shipway.core.verdicts import Verdict
from shipway.pipeline.tools.model import Tool, ToolOutput, UnreadableOutputError
from shipway.pipeline.tools.reading import json_of, objects, place

_YAMLLINT = re.compile(r"^(.+?):(\d+):(\d+): \[(warning|error)\] (.*?)(?: \(([\w-]+)\))?$")
_HELM = re.compile(r"^\[(INFO|WARNING|ERROR)\] (?:(\S+): )?(.*)$")
_INVALID = frozenset({"statusInvalid", "statusError"})


def finding(tool: str, rule: str, message: str, location: str, *, warning: bool = False) -> Finding:
    """Return a finding of a linter."""
    verdict = Verdict.PASS if warning else Verdict.FAIL
    details = {"level": "warning"} if warning else {}
    return Finding(tool, rule, verdict, message=message, location=location, rule=f"{tool}/{rule}", details=details)


def _yamllint(output: ToolOutput) -> Iterator[Finding]:
    for line in output.stdout.decode(errors="replace").splitlines():
        row = _YAMLLINT.match(line)
        if row is None:
            raise UnreadableOutputError(f"not a line of it: {line[:100]!r}")
        yield finding("yamllint", row[6] or "syntax", row[5], place(row[1], int(row[2])), warning=row[4] == "warning")


def _hadolint(output: ToolOutput) -> Iterator[Finding]:
    for row in objects(json_of(output.stdout, list)):
        warning = row.get("level") in {"info", "style"}
        where = place(row.get("file"), row.get("line"))
        yield finding("hadolint", str(row.get("code")), str(row.get("message")), where, warning=warning)


def _helm(output: ToolOutput) -> Iterator[Finding]:
    for line in output.stdout.decode(errors="replace").splitlines():
        row = _HELM.match(line.strip())
        if row and row[1] != "INFO":
            yield finding("helm", row[1].lower(), row[3], row[2] or "Chart.yaml", warning=row[1] == "WARNING")


def _kubeconform(output: ToolOutput) -> Iterator[Finding]:
    for row in objects(json_of(output.stdout, dict).get("resources") or []):
        if row.get("status") in _INVALID:
            rule = "invalid" if row["status"] == "statusInvalid" else "error"
            message = f"{row.get('kind')} {row.get('name')}: {row.get('msg')}"
            yield finding("kubeconform", rule, message, str(row.get("filename")))


def _terraform_format(output: ToolOutput) -> Iterator[Finding]:
    for line in output.stdout.decode(errors="replace").splitlines():
        yield finding("terraform", "format", "terraform fmt would reformat this file", line.strip())


# With warnings alone hadolint exits with 1 as well; `terraform fmt -check` exits with 3.
YAMLLINT = Tool("yamllint", "pip install yamllint", _yamllint, fine=frozenset({0, 1}), found=frozenset())
HADOLINT = Tool("hadolint", "see hadolint's page of releases", _hadolint, fine=frozenset({0, 1}), found=frozenset())
HELM = Tool("helm", "see helm's documentation, Installing Helm", _helm, version=("version", "--short"))
KUBECONFORM = Tool("kubeconform", "see kubeconform's page of releases", _kubeconform, version=("-v",))
TERRAFORM_FORMAT = Tool(
    "terraform", "see terraform's documentation, Install", _terraform_format, found=frozenset({3}), version=("version",)
)
