"""The compiled hot path, as `make test-compiled` installs it: that it is what runs, and that it is Python still."""

import asyncio
import importlib
import inspect
import linecache
import pickle
import re
import tomllib
import traceback
from dataclasses import FrozenInstanceError
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

import pytest

import shipway
from shipway.core.ids import ulid
from shipway.core.record import ServedRequest
from shipway.gateway.ledger import Storage
from shipway.gateway.relay import refuse_errors
from shipway.services.hot_path import HotPath, hot_path

pytestmark = pytest.mark.compiled

ROOT = Path(__file__).parents[2]
_MADE_BY_PYTHON = 1 << 9
"""Py_TPFLAGS_HEAPTYPE: a class statement was executed."""
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
MODULES = PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["hooks"]["custom"]["modules"]


@pytest.mark.parametrize("module", MODULES)
def test_what_runs_is_the_extension_module_and_its_source_lies_beside_it(module):
    loaded = Path(str(importlib.import_module(module).__file__))

    assert loaded.name.endswith(tuple(EXTENSION_SUFFIXES))
    assert loaded.with_name(module.rpartition(".")[2] + ".py").is_file()


def test_what_is_compiled_is_this_source():
    """An old build would be tested in its stead."""
    built = Path(shipway.__file__).parent.parent
    names = [f"{module.replace('.', '/')}{kind}" for module in MODULES for kind in (".py", ".pxd")]
    names = [name for name in names if (ROOT / "src" / name).is_file()]

    assert [name for name in names if (built / name).read_bytes() != (ROOT / "src" / name).read_bytes()] == []


def test_nothing_compiled_lies_in_the_source_tree():
    assert [path for kind in ("*.so", "*.c", "compiled.txt") for path in (ROOT / "src").rglob(kind)] == []


@pytest.mark.parametrize("path", sorted((ROOT / "src").rglob("*.pxd")), ids=lambda path: path.stem)
def test_declared_classes_are_extension_types(path):
    module = importlib.import_module(".".join(path.relative_to(ROOT / "src").with_suffix("").parts))
    names = re.findall(r"^cdef class (\w+)", path.read_text(encoding="utf-8"), re.MULTILINE)

    assert names
    assert [name for name in names if getattr(module, name).__flags__ & _MADE_BY_PYTHON] == []


def test_doctor_sees_every_module():
    assert hot_path() == HotPath(len(MODULES), ())


def test_an_error_names_the_line_of_the_source():
    with pytest.raises(TypeError) as caught:
        ulid(None)

    last = traceback.extract_tb(caught.value.__traceback__)[-1]
    linecache.clearcache()
    assert last.filename == "shipway/core/ids.py"
    assert "time_ms, high, low = " in linecache.getline(last.filename, last.lineno or 0)


def test_functions_have_their_signatures_and_docstrings():
    assert list(inspect.signature(ulid).parameters) == ["now_s", "random_bits"]
    assert (inspect.getdoc(ulid) or "").startswith("Return a 26-character id")
    assert list(inspect.signature(ServedRequest).parameters)[:2] == ["id", "at_s"]


def test_records_keep_their_slots_and_can_be_pickled():
    values = ("r", 1.0, "local", "ask", "rel", False, 0.0, None, 1, "c", "header", "t", "k", 200, 12.5)
    record = ServedRequest(*values)

    assert pickle.loads(pickle.dumps(record)) == record  # noqa: S301
    assert not hasattr(record, "__dict__")


def test_frozen_values_stay_frozen():
    frozen = Storage(*(None for _ in inspect.signature(Storage).parameters))

    with pytest.raises(FrozenInstanceError):
        frozen.slots = 1


class Hanging:
    """A reply that the engine refuses with 429, and whose words never come; it counts who was told to stop."""

    status = 429
    headers = ()
    stopped = 0

    async def whole(self, most_bytes: int) -> bytes:
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            self.stopped += 1
        return b""


class Account:
    def note(self, event: str) -> None:
        assert event == "error"


@pytest.mark.anyio
async def test_a_compiled_coroutine_is_cancelled_and_timed_out_where_it_waits():
    reply = Hanging()
    task = asyncio.create_task(refuse_errors(reply, Account()))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0):
            await refuse_errors(reply, Account())
    assert asyncio.iscoroutinefunction(refuse_errors)
    assert reply.stopped == 2
