"""`shipway dataset`: check, count, compare, divide, import and register the cases."""

import json
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import anyio
import typer

from shipway.core.counting import counted
from shipway.core.disk import explained, require_writable_file
from shipway.core.errors import NotFoundError, UsageError
from shipway.core.findings import FindingReport, findings_lines
from shipway.core.verdicts import Verdict
from shipway.entrypoints.cli.commands.dataset_proposals import group as proposals
from shipway.entrypoints.cli.options import DebugOption, JsonOption, ProjectOption, command_group
from shipway.entrypoints.cli.output import emit, table, warn
from shipway.entrypoints.dataset_parts import dataset_tools
from shipway.entrypoints.failures import VERDICT_EXIT_CODES
from shipway.entrypoints.tool_parts import great_expectations, tools_folder
from shipway.entrypoints.wiring import opened
from shipway.evals.data_checks import verdict_of, warnings_of
from shipway.evals.data_diff import DatasetDiff, diff
from shipway.evals.data_languages import load_language_of
from shipway.evals.data_split import split
from shipway.evals.data_stats import DatasetStats, Spread, stats
from shipway.evals.dataset import FORMATS, dataset_schema, written_jsonl
from shipway.evals.model import Dataset
from shipway.evals.report_sarif import findings_sarif
from shipway.evals.rows import FileForm
from shipway.evals.suggestions import did_you_mean
from shipway.services.application import Application
from shipway.services.datasets import (
    NamedDataset,
    named_as,
    read_file,
    read_named,
    read_version,
    registry_of,
)
from shipway.services.datasets import (
    check as check_named,
)
from shipway.services.datasets import (
    register as register_named,
)
from shipway.services.expectations import suite_of, with_expectations

group = command_group("Check, count, compare, divide, import and register the cases of evaluations.")
group.add_typer(proposals, name="proposals")

_SHOWN = 20
_CASE_FILES = frozenset({".jsonl", ".yaml", ".yml", ".csv", ".json"})
DatasetArgument = Annotated[
    str, typer.Argument(help="A file, or a name of the section datasets; by default evals.dataset.")
]
FormatOption = Annotated[
    str, typer.Option("--format", help="jsonl, yaml, csv, promptfoo, ragas or inspect; by default the suffix says it.")
]
EncodingOption = Annotated[str, typer.Option(help="How the file encodes its characters, such as latin-1.")]
DelimiterOption = Annotated[str, typer.Option(help="What separates the columns of a CSV file; tab for a tab.")]
OutOption = Annotated[Path, typer.Option("--out", help="The .jsonl file to write.")]
ForceOption = Annotated[bool, typer.Option("--force", help="Replace the file when it is there.")]


@group.command()
def check(
    dataset: DatasetArgument = "",
    against: Annotated[str, typer.Option(help="Compare with this version (3 or faq@3) instead of the newest.")] = "",
    file_format: FormatOption = "",
    encoding: EncodingOption = "",
    delimiter: DelimiterOption = "",
    *,
    expectations: Annotated[str, typer.Option(help="A suite of Great Expectations that has to hold as well.")] = "",
    sarif: Annotated[Path | None, typer.Option(help="Write what is found as SARIF, for a code host.")] = None,
    project: ProjectOption = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Look for duplicates, leakage, personal data, empty fields, and another shape than the last version has.

    Exit code: 0 nothing fails, 1 something does, 2 the file is malformed, 3 something could not be looked at.
    """
    del debug
    form = _form(file_format, encoding, delimiter)

    async def act() -> tuple[NamedDataset, FindingReport]:
        async with _found(project, dataset, form) as (app, found):
            report = await check_named(app, found, dataset_tools(app), against)
            suite = suite_of(app.loaded.root if app else Path(), found, expectations)
            if suite is not None:
                if app is None:
                    raise UsageError(f"{suite}: Great Expectations is installed in a project", hint="go into one")
                tool = great_expectations(tools_folder(app))
                report = await with_expectations(report, tool, found.file.dataset, suite)
            if sarif is not None:
                with explained(sarif, "cannot be written"):
                    await anyio.Path(sarif).write_text(findings_sarif(report), encoding="utf-8")
            return found, report

    found, report = anyio.run(act)
    verdict = verdict_of(report)
    emit(_checked(found, report, verdict), _check_lines(found, report, verdict), as_json=as_json)
    raise typer.Exit(VERDICT_EXIT_CODES[verdict])


@group.command("stats")
def stats_(
    dataset: DatasetArgument = "",
    file_format: FormatOption = "",
    encoding: EncodingOption = "",
    delimiter: DelimiterOption = "",
    *,
    project: ProjectOption = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Count the cases by split, tag, tenant, language and expectation."""
    del debug
    form = _form(file_format, encoding, delimiter)

    async def act() -> NamedDataset:
        async with _found(project, dataset, form) as (_, found):
            return found

    found = anyio.run(act)
    counts = stats(found.file.dataset, load_language_of())
    emit(counts, _stats_lines(found, counts), as_json=as_json)


@group.command("diff")
def diff_(
    before: Annotated[str, typer.Argument(help="A file, a name, or a version such as faq@2.")],
    after: Annotated[str, typer.Argument(help="Another one.")],
    *,
    project: ProjectOption = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Show which cases were added, removed, changed and renamed."""
    del debug

    async def act() -> DatasetDiff:
        try:
            async with opened(project) as app:
                first, second = _in_project(app, before), _in_project(app, after)
                return diff(await read_version(app, first), await read_version(app, second))
        except NotFoundError:
            # Two files need no project.
            if project is not None or not (_is_path(before) and _is_path(after)):
                raise
        files = [await read_file(Path(name), FileForm()) for name in (before, after)]
        return diff(files[0].file.dataset, files[1].file.dataset)

    found = anyio.run(act)
    emit(found, _diff_lines(found), as_json=as_json)


@group.command("split")
def split_(
    dataset: DatasetArgument,
    out: OutOption,
    test: Annotated[float, typer.Option("--test", help="The share of cases that judge.")] = 0.3,
    seed: Annotated[int, typer.Option(help="Another one divides otherwise.")] = 1,
    *,
    force: ForceOption = False,
    project: ProjectOption = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Divide the cases into those that tune and those that judge; cases of one cluster stay together."""
    del debug
    _check_out(out, force=force)

    async def act() -> NamedDataset:
        async with _found(project, dataset, None) as (_, found):
            return found

    divided = split(anyio.run(act).file.dataset, test, seed)
    _write(out, divided)
    counts = {name: len(divided.only(name).cases) for name in ("calibration", "test")}
    lines = [f"{out}: {counts['test']} cases judge, {counts['calibration']} tune"]
    emit({"out": out, "digest": divided.digest, "seed": seed, **counts}, lines, as_json=as_json)


@group.command("import")
def import_(
    source: Annotated[Path, typer.Argument(help="The file.")],
    out: OutOption,
    form: Annotated[str, typer.Option("--from", help="promptfoo, ragas, inspect, csv, jsonl or yaml.")],
    encoding: EncodingOption = "utf-8",
    delimiter: DelimiterOption = "",
    *,
    force: ForceOption = False,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Write the cases of another tool's file, or of one in another encoding, as a dataset; say what got lost."""
    del debug
    _check_out(out, force=force)
    found = anyio.run(read_file, source, _form(form, encoding, delimiter) or FileForm())
    _write(out, found.file.dataset)
    for line in () if as_json else found.file.dropped[:_SHOWN]:
        warn(line)
    more = len(found.file.dropped) - _SHOWN
    if more > 0 and not as_json:
        warn(f"{more} more parts have no counterpart; --json lists them")
    cases = len(found.file.dataset.cases)
    value = {"out": out, "cases": cases, "digest": found.file.dataset.digest, "dropped": found.file.dropped}
    emit(value, [f"{out}: {cases} cases; check them with `shipway dataset check {out}`"], as_json=as_json)


@group.command()
def register(
    dataset: DatasetArgument = "",
    name: Annotated[str, typer.Option(help="Under another name than its own.")] = "",
    *,
    project: ProjectOption = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Keep the cases as a version that later ones are compared with."""
    del debug

    async def act() -> tuple[Any, bool]:
        async with opened(project) as app:
            found = await read_named(app.loaded, _in_project(app, dataset))
            return await register_named(app, named_as(found, name))

    version, is_new = anyio.run(act)
    said = "registered" if is_new else "is registered already, with the same cases"
    value = {"version": version.label, "new": is_new, "digest": version.digest, "cases": version.cases}
    emit(value, [f"{version.label} {said}: {version.cases} cases, {version.digest}"], as_json=as_json)


@group.command("list")
def list_(
    name: Annotated[str, typer.Argument(help="Only versions of this dataset.")] = "",
    *,
    project: ProjectOption = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """List the registered versions."""
    del debug

    async def act() -> Any:
        async with opened(project) as app:
            return await registry_of(app).versions(name)

    found = anyio.run(act)
    rows = [[item.label, item.cases, _day(item.at_s), item.by, item.digest[:19]] for item in found]
    lines = table(("version", "cases", "registered", "by", "digest"), rows) if rows else ["no dataset is registered"]
    emit(found, lines, as_json=as_json)


@group.command()
def schema(*, as_json: JsonOption = False, debug: DebugOption = False) -> None:
    """Print the JSON Schema of one case, for editors."""
    del debug
    found = dataset_schema()
    emit(found, [json.dumps(found, indent=2, ensure_ascii=False)], as_json=as_json)


@asynccontextmanager
async def _found(
    project: Path | None, dataset: str, form: FileForm | None
) -> AsyncIterator[tuple[Application | None, NamedDataset]]:
    """Read a dataset; a file needs no project, but is compared with one where there is one."""
    async with AsyncExitStack() as stack:
        app: Application | None = None
        try:
            app = await stack.enter_async_context(opened(project))
        except NotFoundError:
            if project is not None or not _is_path(dataset):
                raise
        if app is None:
            yield None, await read_file(Path(dataset), form or FileForm())
        else:
            yield app, await read_named(app.loaded, _in_project(app, dataset), form)


def _is_path(dataset: str) -> bool:
    """Tell whether somebody means a file, there or not, and no name of a dataset."""
    return bool(dataset) and (Path(dataset).exists() or "/" in dataset or Path(dataset).suffix in _CASE_FILES)


def _in_project(app: Application, dataset: str) -> str:
    """Return a path that is meant from the present folder as one from the project's."""
    path = Path(dataset)
    if not dataset or dataset in app.project.datasets or not path.exists():
        return dataset
    absolute, root = path.resolve(), app.loaded.root.resolve()
    return absolute.relative_to(root).as_posix() if absolute.is_relative_to(root) else str(absolute)


def _form(name: str, encoding: str, delimiter: str) -> FileForm | None:
    if not (name or encoding or delimiter):
        return None
    if name and name not in FORMATS:
        raise UsageError(f"no format {name!r}; {did_you_mean(name, FORMATS)}")
    separator = {"tab": "\t", "\\t": "\t"}.get(delimiter, delimiter)
    if len(separator) > 1:
        raise UsageError(f"--delimiter {delimiter!r}: one character, or tab")
    return FileForm(name or "auto", encoding or "utf-8", separator or None)


def _check_out(out: Path, *, force: bool) -> None:
    if out.suffix != ".jsonl":
        raise UsageError(f"--out {out}: JSON lines are written; name it .jsonl")
    if out.exists() and not force:
        raise UsageError(f"--out {out} is there already", hint="name another file, or add --force")
    require_writable_file(out, "--out")


def _write(out: Path, dataset: Dataset) -> None:
    with explained(out, "cannot be written"):
        out.write_bytes(written_jsonl(dataset.cases))


def _checked(found: NamedDataset, report: FindingReport, verdict: Verdict) -> dict[str, Any]:
    said = [item for item in report.findings if item.message]
    return {
        "dataset": found.name,
        "file": found.file.file,
        "digest": found.file.dataset.digest,
        "cases": len(found.file.dataset.cases),
        "verdict": verdict,
        "findings": [
            {
                "rule": item.rule,
                "verdict": item.verdict,
                "message": item.message,
                "location": item.location,
                "case": item.case_id,
                "details": dict(item.details),
            }
            for item in said
        ],
        "passed": [item.rule for item in report.findings if item.verdict is Verdict.PASS and not item.message],
        "dropped": found.file.dropped,
    }


def _check_lines(found: NamedDataset, report: FindingReport, verdict: Verdict) -> Iterator[str]:
    yield from findings_lines(report, most=_SHOWN)
    for item in report.findings:
        if item.verdict is Verdict.NO_DATA:
            yield f"not looked at: {item.rule}: {item.message}"
    failed = sum(item.verdict in {Verdict.FAIL, Verdict.ERROR} for item in report.findings)
    told = ((len(found.file.dataset.cases), "case"), (failed, "finding"), (len(warnings_of(report)), "warning"))
    yield f"{found.file.file}: {verdict.value}: {', '.join(counted(number, noun) for number, noun in told)}"


def _stats_lines(found: NamedDataset, counted: DatasetStats) -> list[str]:
    rows = [
        ["cases", f"{counted.cases} ({_counts(counted.splits)})"],
        ["unanswerable", str(counted.unanswerable)],
        ["clusters", f"{_counts(counted.clusters)}; the largest is {counted.largest_cluster}"],
        ["cases a cluster", _spread(counted.cases_per_cluster)],
        ["words of a question", _spread(counted.question_words)],
        ["words of a reference", _spread(counted.reference_words) if counted.reference_words else "none"],
        ["expectations", _counts({name: count for name, count in counted.expectations.items() if count})],
        ["assertions", _counts(counted.assertions)],
        ["tags", _counts(counted.tags)],
        ["tenants", _counts(counted.tenants)],
        ["languages", _counts(counted.languages)],
        ["digest", counted.digest],
    ]
    width = max(len(name) for name, _ in rows)
    return [found.file.file, *(f"  {name.ljust(width)}  {value}" for name, value in rows)]


def _spread(spread: Spread) -> str:
    return f"{spread.least} to {spread.most}, in the middle {spread.median:g}, 95 % up to {spread.p95}"


def _counts(counts: Mapping[str, int]) -> str:
    shown = [f"{name} {count}" for name, count in list(counts.items())[:_SHOWN]]
    more = [f"and {len(counts) - _SHOWN} more"] if len(counts) > _SHOWN else []
    return ", ".join([*shown, *more]) or "none"


def _diff_lines(found: DatasetDiff) -> Iterator[str]:
    if found.same:
        yield f"the same {found.unchanged} cases"
        return
    yield from (f"added    {name}" for name in found.added)
    yield from (f"removed  {name}" for name in found.removed)
    yield from (f"changed  {name}: {', '.join(fields)}" for name, fields in found.changed.items())
    yield from (f"renamed  {old} to {new}" for old, new in found.renamed.items())
    yield f"unchanged {found.unchanged}"


def _day(at_s: float) -> str:
    return datetime.fromtimestamp(at_s, UTC).strftime("%Y-%m-%d %H:%M")
