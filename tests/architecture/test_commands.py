"""Every command exists, and none is loaded before it is called."""

import importlib
import json
import subprocess
import sys

import pytest

from shipway.entrypoints.cli.main import COMMANDS

HEAVY = [
    *(
        "aiohttp",
        "alembic",
        "anyio",
        "fastapi",
        "faiss",
        "llama_cpp",
        "numpy",
        "onnxruntime",
        "orjson",
        "prometheus_client",
    ),
    *("datasketch", "jsonschema_rs", "py3langid", "rapidfuzz"),
    *("pydantic", "rich", "scipy", "sqlalchemy", "structlog", "tantivy", "uvicorn", "uvloop", "yaml"),
]
SCRIPT = """
import json, sys
from shipway.entrypoints.cli.main import run
code = run(sys.argv[1:])
sys.stderr.write(json.dumps([code, sorted({name.split(".")[0] for name in sys.modules})]))
"""


def modules_after(*arguments: str) -> tuple[int, set[str], str]:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, *arguments], capture_output=True, text=True, check=True, timeout=60
    )
    code, modules = json.loads(done.stderr)
    return code, set(modules), done.stdout


def test_help_loads_nothing_heavy():
    code, modules, output = modules_after("--help")

    assert code == 0
    assert "shipway" in output
    assert modules & set(HEAVY) == set()


def test_version_loads_nothing_heavy():
    code, modules, output = modules_after("--version")

    assert code == 0
    assert output.startswith("shipway ")
    # Typer itself imports pydantic, where there is one, to read an option's value.
    assert modules & set(HEAVY) <= {"pydantic"}


def test_help_lists_every_command():
    _, _, output = modules_after("--help")

    assert [name for name in COMMANDS if f"\n  {name} " not in output] == []


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_is_where_the_table_says(name):
    module, attribute = COMMANDS[name][0].split(":")

    assert callable(getattr(importlib.import_module(module), attribute)) or attribute == "group"
