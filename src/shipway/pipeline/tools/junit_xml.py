"""JUnit XML, as pytest and most test runners write it, as findings: one for each test.

Source: pytest's documentation, `--junit-xml`; the Ant schema that CI systems read.
"""

from collections.abc import Iterator
from xml.etree import ElementTree as ET

from shipway.core.findings import Finding
from shipway.core.verdicts import Verdict
from shipway.pipeline.tools.model import UnreadableOutputError
from shipway.pipeline.tools.reading import place

_DEFINITIONS = (b"<!ENTITY", b"<!ATTLIST")


def document(data: bytes, what: str) -> ET.Element:
    """Return the root of an XML file that defines no entities of its own.

    Raises:
        UnreadableOutputError: it is not XML, or could be more than it seems.
    """
    # A zero byte would be UTF-16, in which the definitions below are not seen.
    if b"\0" in data or any(word in data for word in _DEFINITIONS):
        raise UnreadableOutputError(f"the {what} file defines entities, which no such file needs")
    try:
        return ET.fromstring(data)  # noqa: S314 - without definitions there is nothing to expand
    except (ET.ParseError, ValueError, LookupError) as error:
        raise UnreadableOutputError(f"the {what} file is not XML: {error}") from None


def read_junit(data: bytes) -> list[Finding]:
    """Return a finding for each test: PASS, FAIL, ERROR, and what was skipped as a warning that passes.

    Raises:
        UnreadableOutputError: it is no such file.
    """
    root = document(data, "JUnit")
    if root.tag not in {"testsuites", "testsuite"}:
        raise UnreadableOutputError(f"the JUnit file begins with {root.tag!r}, not with testsuites")
    return list(_tests(root))


def _tests(root: ET.Element) -> Iterator[Finding]:
    for test in root.iter("testcase"):
        verdict, message, skipped = _came_to(test)
        group = test.get("classname") or ""
        name = f"{group}::{test.get('name')}" if group else str(test.get("name"))
        yield Finding(
            "tests",
            name,
            verdict,
            message=message,
            location=_where(test),
            duration_ms=_milliseconds(test.get("time")),
            rule="tests/skipped" if skipped else f"tests/{verdict.value.lower()}",
            details={"skipped": True} if skipped else {},
        )


def _came_to(test: ET.Element) -> tuple[Verdict, str, bool]:
    for tag, verdict in (("error", Verdict.ERROR), ("failure", Verdict.FAIL)):
        found = test.find(tag)
        if found is not None:
            return verdict, found.get("message") or (found.text or "").strip() or "without a message", False
    found = test.find("skipped")
    if found is not None:
        return Verdict.PASS, f"skipped: {found.get('message') or 'no reason given'}", True
    return Verdict.PASS, "", False


def _where(test: ET.Element) -> str:
    """Return the file of a test; pytest gives none, but its class names are the modules' paths."""
    line = test.get("line") or ""
    if test.get("file"):
        return place(test.get("file"), int(line) + 1 if line.isdecimal() else None)
    module = (test.get("classname") or "").split(".")
    while module and module[-1][:1].isupper():
        module.pop()
    return "/".join(module) + ".py" if module and module[-1].startswith("test") else ""


def _milliseconds(text: str | None) -> float | None:
    try:
        return float(text) * 1000 if text else None
    except ValueError:
        return None
