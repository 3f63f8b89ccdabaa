"""pip-audit: known vulnerabilities of dependencies. Exit 0 none, 1 some, and 1 as well when it cannot ask anybody.

What it could not look up is NO_DATA: not checked, which is not passed. Source: pip-audit's documentation, JSON format.
"""

import re
from collections.abc import Collection, Iterator, Sequence

from shipway.core.findings import Finding
from shipway.core.verdicts import Verdict
from shipway.pipeline.tools.model import Tool, ToolOutput
from shipway.pipeline.tools.reading import json_of, objects

_UNREACHABLE = re.compile(
    r"ConnectionError|ConnectTimeout|ReadTimeout|Max retries|Failed to establish|ServiceError|Name or service not known"
    r"|Temporary failure in name resolution|ProxyError|Connection refused|timed out",
    re.IGNORECASE,
)
_SHOWN = 10
_NORMAL = re.compile(r"[-_.]+")


def argv(requirements: Sequence[str], arguments: Sequence[str] = ()) -> tuple[str, ...]:
    """Return the call; without files of requirements it looks at what is installed."""
    files = tuple(word for file in requirements for word in ("--requirement", file))
    return ("pip-audit", "--format", "json", "--progress-spinner", "off", *files, *arguments)


def tool(own: Collection[str] = (), ignore: Collection[str] = ()) -> Tool:
    """Return pip-audit; packages of `own` need not be known to anybody, vulnerabilities of `ignore` are accepted."""
    names = {_normal(name) for name in own}

    def read(output: ToolOutput) -> Iterator[Finding]:
        if not output.stdout.strip() and _UNREACHABLE.search(output.stderr):
            yield _unchecked("everything", "the vulnerability service cannot be reached")
            return
        skipped: dict[str, list[str]] = {}
        for package in objects(json_of(output.stdout, dict).get("dependencies", [])):
            name = str(package.get("name"))
            if package.get("skip_reason"):
                if _normal(name) not in names:
                    # What follows the colon is the package again.
                    skipped.setdefault(str(package["skip_reason"]).partition(":")[0], []).append(name)
                continue
            for found in objects(package.get("vulns", [])):
                yield _vulnerable(package, found, ignore)
        for reason, packages in skipped.items():
            shown = ", ".join(packages[:_SHOWN]) + (" and more" if len(packages) > _SHOWN else "")
            yield _unchecked(f"{len(packages)} packages", f"{reason}: {shown}")

    return Tool("pip-audit", "pip install pip-audit", read)


def _vulnerable(package: dict[str, object], found: dict[str, object], ignore: Collection[str]) -> Finding:
    known = found.get("aliases")
    aliases = [str(alias) for alias in known] if isinstance(known, list) else []
    versions = found.get("fix_versions")
    fixed = ", ".join(map(str, versions)) if isinstance(versions, list) and versions else ""
    accepted = next((name for name in (str(found.get("id")), *aliases) if name in ignore), "")
    return Finding(
        "pip-audit",
        str(found.get("id")),
        Verdict.FAIL,
        message=f"{package.get('name')} {package.get('version')}: {', '.join(aliases) or 'no alias'}; "
        + (f"fixed in {fixed}" if fixed else "no version has a fix"),
        rule=f"pip-audit/{found.get('id')}",
        details={"open": f"{accepted} is accepted"} if accepted else {},
    )


def _unchecked(name: str, reason: str) -> Finding:
    message = f"NOT CHECKED: {name}: {reason}"
    return Finding("pip-audit", name, Verdict.NO_DATA, message=message, rule="pip-audit/not-checked")


def _normal(name: str) -> str:
    return _NORMAL.sub("-", name).lower()
