"""Cut documents into chunks with exact character offsets; `build` calls it, citations rest on the offsets.

Chunks never cross a heading. Sentences and table rows are packed up to `size` tokens; the next chunk repeats the last
sentences of up to `overlap` tokens. A token here is a word or a sign, so that the same corpus gives the same chunks
whatever model embeds it.
"""

import re
from collections.abc import Iterator

from shipway.config.sections.corpus import Chunking
from shipway.core.canonical import digest_json
from shipway.core.ids import Digest
from shipway.rag.model import Access, Chunk, Document, Unit

VERSION = "sections-sentences/1"

_TOKEN = re.compile(r"\w+|[^\w\s]")
_WORD = re.compile(r"\S+")
# A "word" counts once for every 16 characters: text written without spaces is one long word.
_WORD_LENGTH = 16
# The end of a sentence: a stop, closing quotes, then white space before something that can begin a sentence.
# Ideographic stops need no white space.
_SENTENCE_END = re.compile(
    r"[.!?\u2026][\"'\u201d\u2019)\]]*\s+(?=[\"'\u201c\u2018(\[]*[^\W_a-z])|[\u3002\uff01\uff1f]"
)
_ABBREVIATION = re.compile(r"(?:\b(?:e\.g|i\.e|approx|No|Nr|vs|Mr|Mrs|Ms|Dr|St|Fig|max|min)|\b[A-Z])\.$")


def count_tokens(text: str) -> int:
    """Count words and signs."""
    return sum(1 + (len(match.group()) - 1) // _WORD_LENGTH for match in _TOKEN.finditer(text))


def chunk_document(document: Document, access: Access, settings: Chunking) -> tuple[Chunk, ...]:
    """Return the chunks in reading order."""
    found: list[Chunk] = []
    for section in document.sections:
        units = [piece for unit in section.units for piece in _pieces(document.text, unit, settings.size)]
        for start, end in _packed(document.text, units, settings):
            ordinal = len(found)
            found.append(
                Chunk(
                    id=_chunk_id(document, settings, ordinal),
                    document=document.path,
                    document_digest=document.digest,
                    ordinal=ordinal,
                    title=document.title,
                    heading=section.heading,
                    text=document.text[start:end],
                    start=start,
                    end=end,
                    access=access,
                    effective=document.effective,
                    supersedes=document.supersedes,
                )
            )
    return tuple(found)


def sentences(text: str, start: int = 0, end: int | None = None) -> Iterator[tuple[int, int]]:
    """Yield the offsets of sentences, without the white space between them."""
    stop = len(text) if end is None else end
    begin = start
    for match in _SENTENCE_END.finditer(text, start, stop):
        last = match.start() + 1
        if _ABBREVIATION.search(text, max(begin, last - 8), last):
            continue
        yield from _trimmed(text, begin, match.end())
        begin = match.end()
    yield from _trimmed(text, begin, stop)


def _trimmed(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    piece = text[start:end]
    if piece.strip():
        yield start + len(piece) - len(piece.lstrip()), end - (len(piece) - len(piece.rstrip()))


def _chunk_id(document: Document, settings: Chunking, ordinal: int) -> Digest:
    return digest_json(
        {"document": document.digest, "chunker": [VERSION, settings.size, settings.overlap], "ordinal": ordinal}
    )


def _pieces(text: str, unit: Unit, size: int) -> Iterator[tuple[int, int]]:
    """Yield what may not be cut any further: a row, a sentence, or a part of a sentence that is too long."""
    if unit.whole:
        yield unit.start, unit.end
        return
    for start, end in sentences(text, unit.start, unit.end):
        if count_tokens(text[start:end]) <= size:
            yield start, end
        else:
            yield from _cut_sentence(text, start, end, size)


def _cut_sentence(text: str, start: int, end: int, size: int) -> Iterator[tuple[int, int]]:
    begin: int | None = None
    last = start
    tokens = 0
    for match in _WORD.finditer(text, start, end):
        cost = count_tokens(match.group())
        if begin is not None and tokens + cost > size:
            yield begin, last
            begin, tokens = None, 0
        begin = match.start() if begin is None else begin
        last = match.end()
        tokens += cost
    if begin is not None:
        yield begin, last


def _packed(text: str, pieces: list[tuple[int, int]], settings: Chunking) -> Iterator[tuple[int, int]]:
    costs = [count_tokens(text[start:end]) for start, end in pieces]
    first = 0
    while first < len(pieces):
        last, total = first, costs[first]
        while last + 1 < len(pieces) and total + costs[last + 1] <= settings.size:
            last += 1
            total += costs[last]
        yield pieces[first][0], pieces[last][1]
        if last + 1 == len(pieces):
            return
        first = last + 1
        # Always leave room for the next new piece: a chunk of repetitions alone would make no progress.
        room = min(settings.overlap, settings.size - costs[first])
        while costs[first - 1] <= room:
            first -= 1
            room -= costs[first]
