import pytest

from shipway.adapters.local_process.host import LocalHost
from shipway.services.application import Workspace
from shipway.services.config_board import ConfigBoard, Orders, WorkerAnswer


@pytest.fixture
def root(tmp_path):
    (tmp_path / "configs").mkdir()
    (tmp_path / "shipway.yaml").write_text("app: shop\n")
    (tmp_path / "configs" / "staging.yaml").write_text("rates: {}\n")
    return tmp_path


@pytest.fixture
def board(root):
    return ConfigBoard(Workspace(root), LocalHost())


def test_a_revision_is_a_copy_that_later_edits_do_not_reach(board, root):
    revision = board.publish(root, "staging")
    (root / "shipway.yaml").write_text("app: other\n")

    assert (board.files(revision) / "shipway.yaml").read_text() == "app: shop\n"
    assert (board.files(revision) / "configs" / "staging.yaml").read_text() == "rates: {}\n"


def test_a_number_is_never_given_twice(board, root):
    first = board.publish(root, "staging")
    board.give(Orders(0, 0, first))
    board.drop(first)

    assert board.publish(root, "staging") == first + 1


def test_old_revisions_go_but_not_the_one_in_force(board, root):
    board.begin(root, "staging")
    for _ in range(9):
        last = board.publish(root, "staging")

    left = sorted(path.name for path in board.files(1).parent.glob("revision-*"))
    assert left == ["revision-000001", *(f"revision-{number:06d}" for number in range(last - 4, last + 1))]


def test_a_revision_is_in_force_for_those_who_start_only_while_somebody_runs(board, root):
    board.begin(root, "staging")
    assert board.in_force() == 0

    lock = board.join("gateway-0-1")
    board.answer("gateway-0-1", WorkerAnswer("gateway-0-1", revision=1))
    assert board.in_force() == 1

    board.leave("gateway-0-1", lock)
    assert board.in_force() == 0


def test_a_worker_that_was_killed_leaves_nothing_behind(board):
    lock = board.join("gateway-0-1")
    board.answer("gateway-0-1", WorkerAnswer("gateway-0-1", now=("rates.per_key_min",)))
    assert board.living() == {"gateway-0-1": WorkerAnswer("gateway-0-1", now=("rates.per_key_min",))}

    LocalHost().unlock(lock)

    assert board.living() == {}
    assert list(board.files(1).parent.glob("gateway-*")) == []


def test_one_that_has_said_nothing_yet_or_in_another_version_s_words_lives_all_the_same(board):
    board.join("gateway-0-1")
    assert board.living() == {"gateway-0-1": None}

    (board.files(1).parent / "gateway-0-1.json").write_text('{"speaks": "otherwise"}')
    assert board.living() == {"gateway-0-1": None}


def test_orders_are_read_again_when_they_change(board, root):
    other = ConfigBoard(Workspace(root), LocalHost())
    assert other.orders() == Orders()

    board.give(Orders(3, 4, 4))
    assert other.orders() == Orders(3, 4, 4)
    board.give(Orders(4, 0, 4))
    assert other.orders() == Orders(4, 0, 4)
