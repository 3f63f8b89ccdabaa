"""Loading datasets; the CLI, the evaluation service and the pipeline's data check call this.

Every problem of a file is reported at once, as `file:line: field: what is wrong`.
"""

import codecs
from collections.abc import Collection
from pathlib import PurePath

import anyio

from shipway.core.errors import DatasetError
from shipway.evals.case_fields import dataset_schema, read_case
from shipway.evals.model import Case, Dataset
from shipway.evals.rows import READERS, Row
from shipway.evals.suggestions import did_you_mean

__all__ = ["dataset_schema", "load_dataset", "parse_dataset"]

_BOMS = (codecs.BOM_UTF8, codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


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
    data: bytes, file: str, *, documents: Collection[str] | None = None, tenants: Collection[str] | None = None
) -> Dataset:
    """Return the dataset that the bytes of a file hold.

    `tenants` are those whose documents the corpus has; when given, whoever asks an answerable question is one of them.

    Raises:
        DatasetError: everything that is wrong with them.
    """
    suffix = PurePath(file).suffix.lower()
    if suffix not in READERS:
        raise DatasetError([f"{file}: cannot tell the format from {suffix!r}; {did_you_mean(suffix, READERS)}"])
    rows, unread = READERS[suffix](_decoded(data, file))
    problems = list(unread)
    known = None if documents is None else frozenset(documents)
    askers = None if tenants is None else frozenset(tenants)
    cases: list[Case] = []
    for row in rows:
        case, wrong = read_case(row.values, known, askers)
        problems += [(_line_of(row, field), field, text) for field, text in wrong]
        if case is not None:
            cases.append(case)
    problems += _duplicates(rows)
    if not rows and not problems:
        problems.append((1, "", "no cases; write at least one"))
    if problems:
        raise DatasetError(
            [f"{file}:{line}: {field + ': ' if field else ''}{text}" for line, field, text in sorted(problems)]
        )
    return Dataset(PurePath(file).stem, tuple(cases))


def _decoded(data: bytes, file: str) -> str:
    if data.startswith(_BOMS):
        raise DatasetError([f"{file}:1: begins with a byte-order mark; save the file as UTF-8 without BOM"])
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise DatasetError([f"{file}:{line}: not UTF-8 (byte 0x{data[error.start]:02x}); save it as UTF-8"]) from error


def _line_of(row: Row, field: str) -> int:
    return row.lines.get(field.partition("[")[0], row.line)


def _duplicates(rows: list[Row]) -> list[tuple[int, str, str]]:
    first: dict[str, int] = {}
    problems: list[tuple[int, str, str]] = []
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
