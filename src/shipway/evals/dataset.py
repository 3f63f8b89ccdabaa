"""Loading datasets; the CLI, the evaluation service and the pipeline's data check call this.

Every problem of a file is reported at once, as `file:line: field: what is wrong`.
"""

import codecs
import io
import json
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import PurePath

import anyio

from shipway.core.errors import DatasetError
from shipway.evals.case_fields import FIELDS, REQUIRED, case_row, dataset_schema, read_case
from shipway.evals.imports import inspect_samples, promptfoo, ragas
from shipway.evals.imports.imported import Imported, Neighbours, no_neighbours
from shipway.evals.model import Case, Dataset
from shipway.evals.rows import READERS, FileForm, LineProblem, Row, read_csv
from shipway.evals.suggestions import did_you_mean

__all__ = ["DatasetFile", "dataset_schema", "load_dataset", "parse_dataset", "read_dataset", "written_jsonl"]

_UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_SUFFIXES: Mapping[str, str] = {".jsonl": "jsonl", ".yaml": "yaml", ".yml": "yaml", ".csv": "csv"}
_FOREIGN: Mapping[str, Callable[[str, str, Neighbours], Imported]] = {
    "promptfoo": promptfoo.read,
    "ragas": ragas.read,
    "inspect": inspect_samples.read,
}
FORMATS = ("jsonl", "yaml", "csv", *_FOREIGN)


@dataclass(frozen=True, slots=True)
class DatasetFile:
    """A dataset, the file that it stands in and the line of every case.

    `dropped` says what of another tool's file has no counterpart here.
    """

    dataset: Dataset
    file: str
    lines: Mapping[str, int] = field(default_factory=dict, hash=False)
    dropped: tuple[str, ...] = ()

    def place(self, case_id: str) -> str:
        """Return `file:line` of a case, the file alone where nobody knows the line."""
        return f"{self.file}:{self.lines[case_id]}" if case_id in self.lines else self.file


async def load_dataset(path: PurePath | str, *, documents: Collection[str] | None = None) -> Dataset:
    """Read a dataset from a `.jsonl`, `.yaml`, `.yml` or `.csv` file; its name is the file's stem.

    `documents` are the corpus's document ids; when given, every expected source must be one of them.

    Raises:
        DatasetError: everything that is wrong with the file.
    """
    try:
        data = await anyio.Path(path).read_bytes()
    except OSError as error:
        raise DatasetError([f"{path}: cannot be read: {error.strerror or error}"]) from error
    return parse_dataset(data, str(path), documents=documents)


def parse_dataset(
    data: bytes,
    file: str,
    *,
    documents: Collection[str] | None = None,
    tenants: Collection[str] | None = None,
    form: FileForm | None = None,
) -> Dataset:
    """Return the dataset that the bytes of a file hold.

    `tenants` are those whose documents the corpus has; when given, whoever asks an answerable question is one of them.

    Raises:
        DatasetError: everything that is wrong with them.
    """
    return read_dataset(data, file, documents=documents, tenants=tenants, form=form).dataset


def read_dataset(
    data: bytes,
    file: str,
    *,
    documents: Collection[str] | None = None,
    tenants: Collection[str] | None = None,
    form: FileForm | None = None,
    neighbours: Neighbours = no_neighbours,
) -> DatasetFile:
    """Return the dataset of a file with the place of every case.

    `neighbours` reads the files that a foreign file names.

    Raises:
        DatasetError: everything that is wrong with them.
    """
    found = _imported(data, file, form or FileForm(), neighbours)
    problems = list(found.problems)
    known = None if documents is None else frozenset(documents)
    askers = None if tenants is None else frozenset(tenants)
    cases: list[Case] = []
    for row in found.rows:
        case, wrong = read_case(row.values, known, askers)
        problems += [(_line_of(row, name), name, text) for name, text in wrong]
        if case is not None:
            cases.append(case)
    problems += _duplicates(found.rows)
    if not found.rows and not problems:
        problems.append((1, "", "no cases; write at least one"))
    if problems:
        raise DatasetError(
            [f"{file}:{line}: {name + ': ' if name else ''}{text}" for line, name, text in sorted(problems)]
        )
    lines = {case.id: row.line for case, row in zip(cases, found.rows, strict=True)}
    return DatasetFile(Dataset(PurePath(file).stem, tuple(cases)), file, lines, tuple(found.dropped))


def written_jsonl(cases: Iterable[Case]) -> bytes:
    """Return cases as JSON lines, with the fields that are set."""
    return b"".join(json.dumps(case_row(case), ensure_ascii=False).encode() + b"\n" for case in cases)


def _imported(data: bytes, file: str, form: FileForm, neighbours: Neighbours) -> Imported:
    name = form.format
    if name == "auto":
        suffix = PurePath(file).suffix.lower()
        if suffix not in _SUFFIXES:
            raise DatasetError([f"{file}: cannot tell the format from {suffix!r}; {did_you_mean(suffix, _SUFFIXES)}"])
        name = _SUFFIXES[suffix]
    elif name not in FORMATS:
        raise DatasetError([f"{file}: unknown format {name!r}; {did_you_mean(name, FORMATS)}"])
    text = _decoded(data, file, form.encoding)
    if name in _FOREIGN:
        return _FOREIGN[name](text, file, neighbours)
    if name == "csv":
        return _under_known_columns(*read_csv(text, delimiter=form.delimiter, known=FIELDS), text)
    return Imported(*READERS[f".{name}"](text))


def _under_known_columns(rows: Sequence[Row], problems: Sequence[LineProblem], text: str) -> Imported:
    """Say once what a heading has wrong, and not again in every record below it."""
    names = dict.fromkeys(name for row in rows for name in row.values)
    heading = 2 if text[:4].lower() == "sep=" else 1
    unknown = [
        (heading, name, f"unknown column; {did_you_mean(name.lower(), FIELDS)}") for name in names if name not in FIELDS
    ]
    if unknown and not names.keys() >= set(REQUIRED):
        return Imported([], [*problems, *unknown])
    known = [replace(row, values={name: row.values[name] for name in row.values if name in FIELDS}) for row in rows]
    return Imported(known, [*problems, *unknown])


def _decoded(data: bytes, file: str, encoding: str) -> str:
    try:
        # Refuses what turns bytes into other bytes, such as `hex`, too.
        io.TextIOWrapper(io.BytesIO(), encoding=encoding)
        name = codecs.lookup(encoding).name
    except LookupError as error:
        hint = "write one that Python knows, such as utf-8, latin-1 or utf-16"
        raise DatasetError([f"{file}: no encoding {encoding!r}; {hint}"]) from error
    if data.startswith(codecs.BOM_UTF8):
        data, name = data.removeprefix(codecs.BOM_UTF8), "utf-8"
    hint = "save it as UTF-8, or name its encoding: --encoding {} (in shipway.yaml: encoding)"
    if name == "utf-8" and data.startswith(_UTF_16):
        raise DatasetError([f"{file}:1: UTF-16, not UTF-8; {hint.format('utf-16')}"])
    try:
        return data.decode(name)
    except UnicodeError as error:
        start = error.start if isinstance(error, UnicodeDecodeError) else 0
        line = data.count(b"\n", 0, start) + 1
        shown = "UTF-8" if name == "utf-8" else name
        raise DatasetError(
            [f"{file}:{line}: not {shown} (byte 0x{data[start]:02x}); {hint.format('latin-1')}"]
        ) from error


def _line_of(row: Row, name: str) -> int:
    return row.lines.get(name.partition("[")[0], row.line)


def _duplicates(rows: Iterable[Row]) -> list[LineProblem]:
    first: dict[str, int] = {}
    problems: list[LineProblem] = []
    for row in rows:
        name = row.values.get("id")
        if not isinstance(name, str):
            continue
        line = _line_of(row, "id")
        if name in first:
            problems.append((line, "id", f"{name!r} is already the id of line {first[name]}; ids must be unique"))
        else:
            first[name] = line
    return problems
