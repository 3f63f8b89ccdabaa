"""What `shipway pipeline run` imports before the first stage: a warm run must stay short."""

import subprocess
import sys

HEAVY = {"aiohttp", "fastapi", "httptools", "numpy", "onnxruntime", "scipy", "starlette", "uvicorn"}
PROGRAM = """
import sys
import shipway.entrypoints.cli.commands.pipeline_run
from shipway.entrypoints.builtin_stages import catalogue
catalogue()
print(*{name.partition(".")[0] for name in sys.modules})
"""


def test_a_run_imports_nothing_heavy_before_its_first_stage() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    assert set(done.stdout.split()) & HEAVY == set()
