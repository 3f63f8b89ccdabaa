"""Table rows as sentences that can be understood alone; the Markdown, HTML and PDF readers share this."""

from collections.abc import Sequence

from shipway.rag.ports import Block

# Column names that say nothing: `Property | Value` makes "Water tank: 1.6 litres.", not "Property: Water tank; …".
_EMPTY_NAMES = frozenset({"", "property", "value", "name", "item", "feature", "key", "field", "parameter"})


def row_blocks(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[Block]:
    """Return a block a row, each cell behind its column's name: `Part: Heron base; Price: EUR 39.00.`."""
    names = [" ".join(name.split()) for name in header]
    return [Block("row", text) for row in rows if (text := _row(names, row))]


def _row(names: Sequence[str], row: Sequence[str]) -> str:
    cells: list[str] = []
    for index, cell in enumerate(row):
        value = " ".join(cell.split())
        name = names[index] if index < len(names) else ""
        if value:
            cells.append(value if name.casefold() in _EMPTY_NAMES else f"{name}: {value}")
    unnamed_pair = len(cells) > 1 and len(names) == len(row) and all(n.casefold() in _EMPTY_NAMES for n in names[:2])
    text = f"{cells[0]}: {'; '.join(cells[1:])}" if unnamed_pair else "; ".join(cells)
    return text if not text or text[-1] in ".!?" else text + "."
