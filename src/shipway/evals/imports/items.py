"""The rows of a CSV, JSON or JSON-lines file of another tool, and lists that Python wrote into a cell."""

import ast
import io
import itertools
import tokenize
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

from shipway.evals.imports.imported import Imported
from shipway.evals.rows import LineProblem, Row, csv_records, json_items

Item = tuple[int, dict[str, Any]]
"""The line it begins at and its fields."""
ValuesOf = Callable[[dict[str, Any], str, int, list[str]], dict[str, Any]]
"""A case's values from an object's fields, its place, its number, and the list of what is dropped."""


@dataclass(frozen=True, slots=True)
class Columns:
    """The fields that a format has, and those whose cells in a CSV file are written as Python values."""

    known: frozenset[str]
    python: frozenset[str]


def imported_rows(text: str, file: str, columns: Columns, values_of: ValuesOf) -> Imported:
    """Return a row for each object of a file, its values by `values_of`; a ValueError of it is that line's problem."""
    found = Imported()
    rows: list[Row] = []
    problems: list[LineProblem] = []
    for number, (line, item) in enumerate(read_items(text, file, columns.known, found), start=1):
        try:
            sample = {name: python_value(cell) if name in columns.python else cell for name, cell in item.items()}
            rows.append(Row(line, values_of(sample, f"{file}:{line}", number, found.dropped)))
        except ValueError as error:
            problems.append((line, "", str(error)))
    found.rows = rows
    found.problems = [*found.problems, *problems]
    return found


def read_items(text: str, file: str, known: Collection[str], found: Imported) -> list[Item]:
    """Return the objects of a file; what is no object becomes a problem."""
    problems: list[LineProblem] = []
    items: list[Item] = []
    if PurePath(file).suffix.lower() == ".csv":
        records, problems = csv_records(text, known=known)
        items = [(line, dict(cells)) for line, cells in records]
    else:
        values, problems = json_items(text)
        for line, value in values:
            if isinstance(value, Mapping):
                items.append((line, dict(value)))
            else:
                problems.append((line, "", f"not an object but {type(value).__name__}; write {{...}}"))
    found.problems = [*found.problems, *problems]
    return items


def python_value(cell: Any) -> Any:
    """Return the list or object that a cell holds as Python or JSON writes it, else the cell itself.

    Raises:
        ValueError: it begins as one but is none, or numpy wrote it, which leaves out the commas.
    """
    if not isinstance(cell, str) or not cell.lstrip().startswith(("[", "{")):
        return cell
    try:
        tokens = [token.type for token in tokenize.generate_tokens(io.StringIO(cell.strip()).readline)]
        tokens = [kind for kind in tokens if kind not in {tokenize.NL, tokenize.NEWLINE}]
        if any(pair == (tokenize.STRING, tokenize.STRING) for pair in itertools.pairwise(tokens)):
            raise ValueError("two texts stand in the list without a comma; numpy writes so, save it with lists")
        return ast.literal_eval(cell.strip().replace("\r\n", "\n"))
    except (SyntaxError, tokenize.TokenError, RecursionError, MemoryError) as error:
        raise ValueError("begins as a list or object but is none") from error


def listed(value: Any) -> list[Any]:
    """Return the items of a list, a single thing as a list of one, nothing as none."""
    if value is None:
        return []
    return value if isinstance(value, list) else [value]
