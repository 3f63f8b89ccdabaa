"""Writing reports to files; `eval run` and `eval report` call it.

A file appears whole or not at all, and one that cannot be written keeps no other from being written.
"""

import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType

import anyio.to_thread

from shipway.core.disk import disk_error
from shipway.core.errors import StoreError, UsageError
from shipway.evals.metrics import Metric
from shipway.evals.report import failed_cases, report_lines, tag_table, worse_cases
from shipway.evals.report_forms import markdown
from shipway.evals.report_html import html
from shipway.evals.report_json import json_parts
from shipway.evals.report_junit import junit
from shipway.evals.report_sarif import sarif
from shipway.evals.report_source import Evaluated, Places, ReportSource, source_of
from shipway.evals.report_tables import metric_named
from shipway.evals.suggestions import did_you_mean

SHOWN_CASES = 5
"""So many cases that got worse are in the report for terminals."""


async def write_reports(
    evaluation: Evaluated, paths: Mapping[str, Path], *, places: Places | None = None
) -> list[StoreError]:
    """Write a finished evaluation in the formats that `paths` names, such as `{"html": Path("report.html")}`.

    Return what could not be written, for the verdict comes first.

    Raises:
        UsageError: an unknown format, or one file for two of them.
    """
    return await write_source(source_of(evaluation, places), paths)


async def write_source(source: ReportSource, paths: Mapping[str, Path]) -> list[StoreError]:
    """Write a report in several formats, as `write_reports` does.

    Raises:
        UsageError: an unknown format, or one file for two of them.
    """
    check_paths(paths)

    def write_all() -> list[StoreError]:
        failed = []
        for form, path in paths.items():
            try:
                _write(path, _legible(rendered(source, form)))
            except StoreError as error:
                failed.append(error)
            except OSError as error:
                failed.append(disk_error(error, path, f"cannot be written ({form})"))
        return failed

    return await anyio.to_thread.run_sync(write_all)


def check_paths(paths: Mapping[str, Path]) -> None:
    """Refuse what cannot be written, before the work whose result goes there.

    Raises:
        UsageError: an unknown format, or one file for two of them.
    """
    seen: dict[Path, str] = {}
    for form, path in paths.items():
        check_form(form)
        known = seen.setdefault(path.absolute(), form)
        if known != form:
            raise UsageError(f"{path} is named for {known} and for {form}", hint="give each format a file of its own")


def check_form(form: str) -> None:
    """Refuse an unknown format.

    Raises:
        UsageError: names the nearest one.
    """
    if form not in FORMATS:
        raise UsageError(f"no report format {form!r}; {did_you_mean(form, FORMATS)}")


def rendered(source: ReportSource, form: str) -> Iterator[str]:
    """Yield a report of one format piece by piece.

    Raises:
        UsageError: an unknown format.
    """
    check_form(form)
    yield from FORMATS[form](source)


def _terminal(source: ReportSource) -> Iterable[str]:
    return (line + "\n" for line in report_lines(source, _judged_metrics(source), SHOWN_CASES))


def _markdown(source: ReportSource) -> Iterable[str]:
    metrics = _judged_metrics(source)
    tags = tag_table(source.run, list(metrics), metrics)
    return [markdown(source.gates, tags if metrics else None, worse_cases(source), failed_cases(source, metrics))]


def _judged_metrics(source: ReportSource) -> dict[str, Metric]:
    names = dict.fromkeys(row.metric for row in source.gates.rows if row.metric)
    return {name: metric_named(name) for name in names}


FORMATS: Mapping[str, Callable[[ReportSource], Iterable[str]]] = MappingProxyType(
    {
        "terminal": _terminal,
        "json": json_parts,
        "junit": lambda source: [junit(source)],
        "sarif": lambda source: [sarif(source, worse_cases(source))],
        "markdown": _markdown,
        "html": html,
    }
)


def _legible(parts: Iterable[str]) -> Iterator[str]:
    """Yield the parts; what fails here is the reading of answers from the run's folder, not the writing of a report."""
    try:
        yield from parts
    except OSError as error:
        hint = "look at the run's folder; `shipway eval report` writes the report once it can be read"
        raise StoreError(f"the answers of the run cannot be read: {error.strerror or error}", hint=hint) from error


def _write(path: Path, parts: Iterable[str]) -> None:
    """Write beside the file and put it in its place; a device or a pipe is written as it is."""
    if path.exists() and not path.is_file():
        with path.open("w", encoding="utf-8", errors="backslashreplace") as file:
            file.writelines(parts)
        return
    new = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        with new.open("w", encoding="utf-8", errors="backslashreplace", newline="\n") as file:
            file.writelines(parts)
        new.replace(path)
    finally:
        new.unlink(missing_ok=True)
