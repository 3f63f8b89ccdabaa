import pytest
from hypothesis import given
from hypothesis import strategies as st

from shipway.adapters.llamacpp.model import StopScanner, check_model_file
from shipway.adapters.llamacpp.server import default_threads, run_engine
from shipway.core.errors import IntegrityError, NotFoundError


def test_a_missing_model_file_says_how_to_get_it(tmp_path):
    with pytest.raises(NotFoundError, match="shipway models install"):
        run_engine(tmp_path / "none.gguf", "127.0.0.1", 1, alias="x")


def test_a_file_that_is_no_model_is_refused_before_loading(tmp_path):
    path = tmp_path / "model.gguf"
    path.write_bytes(b"version https://git-lfs")
    with pytest.raises(IntegrityError, match="not a GGUF file"):
        check_model_file(path)


def test_at_least_one_thread_is_used_and_one_core_is_left():
    assert default_threads() >= 1


def test_a_stop_text_split_over_pieces_is_cut_out():
    scanner = StopScanner(["END", "###"])
    assert [scanner.push(piece) for piece in ("one E", "N", "D two")] == ["one ", "", ""]
    assert scanner.hit


def test_text_that_only_looked_like_a_stop_is_given_back():
    scanner = StopScanner(["END"])
    assert scanner.push("an E") + scanner.push("Nemy E") + scanner.rest() == "an ENemy E"
    assert not scanner.hit


@given(st.lists(st.text("abE", max_size=4)), st.lists(st.text("abE", min_size=1, max_size=3), max_size=2))
def test_what_is_sent_is_the_text_before_the_first_stop(pieces, stops):
    scanner = StopScanner(stops)
    sent = ""
    for piece in pieces:
        sent += scanner.push(piece)
        if scanner.hit:
            break
    sent += scanner.rest()
    assert not any(stop in sent for stop in stops)
    assert "".join(pieces).startswith(sent)
    if not scanner.hit:
        assert sent == "".join(pieces)
