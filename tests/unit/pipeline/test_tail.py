"""The end of an output is kept in bounded memory."""

from hypothesis import given
from hypothesis import strategies as st

from shipway.pipeline.tail import OutputTail


def test_a_short_output_is_kept_as_it_is() -> None:
    tail = OutputTail()
    tail.feed(b"one\n")
    tail.feed("zwei ä\n".encode())
    assert tail.text() == "one\nzwei ä\n"


def test_of_a_long_output_the_end_remains_and_the_loss_is_named() -> None:
    tail = OutputTail(limit_bytes=10)
    tail.feed(b"first line\n")
    tail.feed(b"second\nend\n")
    assert tail.text() == "[12 bytes before this were dropped]\necond\nend\n"


def test_a_line_longer_than_the_limit_keeps_its_end() -> None:
    tail = OutputTail(limit_bytes=4)
    tail.feed(b"abcdefgh")
    assert tail.text() == "[4 bytes before this were dropped]\nefgh"


def test_bytes_that_are_no_text_are_shown_as_replacements() -> None:
    tail = OutputTail()
    tail.feed(b"\xff\xfe ok")
    assert tail.text() == "\ufffd\ufffd ok"


@given(st.lists(st.binary(max_size=40)), st.integers(1, 16))
def test_memory_stays_bounded_and_the_end_is_the_end_of_what_was_fed(chunks: list[bytes], limit: int) -> None:
    tail = OutputTail(limit_bytes=limit)
    for chunk in chunks:
        tail.feed(chunk)
        assert tail.kept_bytes <= 2 * limit
    whole = b"".join(chunks)
    if len(whole) <= limit:
        assert tail.text() == whole.decode(errors="replace")
    else:
        end = whole[-limit:].decode(errors="replace")
        assert tail.text() == f"[{len(whole) - limit} bytes before this were dropped]\n{end}"
