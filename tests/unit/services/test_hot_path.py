from importlib.machinery import EXTENSION_SUFFIXES

import pytest

from shipway.services.hot_path import HotPath, hot_path


@pytest.fixture
def package(tmp_path):
    folder = tmp_path / "shipway" / "core"
    folder.mkdir(parents=True)
    return folder.parent


def test_without_a_list_nothing_is_compiled(package):
    assert hot_path(package) == HotPath(0, ())


@pytest.mark.parametrize("suffix", EXTENSION_SUFFIXES)
def test_a_module_counts_when_this_python_can_load_it(package, suffix):
    (package / "compiled.txt").write_text("shipway.core.ids\n")
    (package / "core" / f"ids{suffix}").touch()

    assert hot_path(package) == HotPath(1, ())


def test_a_module_made_for_another_python_is_passed_over(package):
    (package / "compiled.txt").write_text("shipway.core.ids\nshipway.core.record\n")
    (package / "core" / f"ids{EXTENSION_SUFFIXES[0]}").touch()
    (package / "core" / "record.cpython-27-x86_64-linux-gnu.so").touch()

    assert hot_path(package) == HotPath(2, ("shipway.core.record",))


def test_an_installation_that_runs_says_what_it_is():
    assert hot_path().passed_over == ()
