"""Runs a function of the project as a stage: the program that `runner` starts for `entry`, as a file of its own.

What the function returns becomes the results: an object of names and values, or nothing. False is FAIL, so is a failed
assertion; any other exception is ERROR. The exit code is written to a file as well, so that a function that ends the
process under its own feet (`os._exit`) has not passed. It imports nothing of Shipway, so a project's environment need
not have it.
"""

import asyncio
import importlib
import inspect
import json
import os
import sys
import traceback
from pathlib import Path
from typing import Any

_FAIL, _ERROR = 1, 3


def main(entry: str, told: str) -> int:
    """Run the function, write the exit code to the file `told` and return it."""
    try:
        code = _called(entry)
    except SystemExit as leaving:
        # What the function asked for by name; text goes to the log, as Python does with it.
        if isinstance(leaving.code, str):
            sys.stderr.write(f"{leaving.code}\n")
        code = leaving.code if isinstance(leaving.code, int) else _FAIL if leaving.code else 0
    Path(told).write_text(str(code), encoding="utf-8")
    return code


def _called(entry: str) -> int:
    sys.path.insert(0, str(Path.cwd()))
    module_name, _, name = entry.partition(":")
    arguments = json.loads(os.environ.get("SHIPWAY_WITH", "{}"))
    try:
        function = getattr(importlib.import_module(module_name), name)
        found = function(**arguments)
        if inspect.iscoroutine(found):
            found = asyncio.run(found)
        return _told(found)
    except AssertionError:
        traceback.print_exc()
        return _FAIL
    # The function is somebody else's code: whatever it raises is this stage's ERROR, with its traceback in the log.
    except Exception:  # noqa: BLE001
        traceback.print_exc()
        return _ERROR


def _told(found: Any) -> int:
    if found is None or isinstance(found, bool):
        return _FAIL if found is False else 0
    if not isinstance(found, dict):
        raise TypeError(
            f"the function returned a {type(found).__name__}; return an object of names and values, or nothing"
        )
    Path(os.environ["SHIPWAY_OUTPUT"]).write_text(json.dumps(found), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
