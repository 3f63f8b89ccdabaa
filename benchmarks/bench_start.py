"""How long a user waits: `--help`, `config show`, `doctor`, and `up` until everything is ready.

Each command is run as a process of its own, interleaved with bare `python -c pass` on the same machine; medians, and
the ratio to the bare interpreter, because absolute times are the machine's.
"""

import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from report import show, write

ROUNDS = 9
PROGRAM = [sys.executable, "-m", "shipway.entrypoints.cli.main"]
EXAMPLE = Path(__file__).parent.parent / "examples" / "helpdesk"


def timed(command: list[str], folder: Path) -> float:
    """Return seconds until a command has ended."""
    started = time.perf_counter()
    subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.perf_counter() - started


def main() -> None:
    """Run the benchmark."""
    with tempfile.TemporaryDirectory(prefix="shipway-bench-") as home:
        folder = Path(home) / "helpdesk"
        shutil.copytree(EXAMPLE, folder, ignore=shutil.ignore_patterns(".shipway"))
        commands = {
            "python": [sys.executable, "-c", "pass"],
            "help": [*PROGRAM, "--help"],
            "config_show": [*PROGRAM, "config", "show"],
            "db_check": [*PROGRAM, "db", "check"],
        }
        subprocess.run([*PROGRAM, "rag", "build"], cwd=folder, check=True, stdout=subprocess.DEVNULL)
        commands["doctor"] = [*PROGRAM, "doctor"]
        times: dict[str, list[float]] = {name: [] for name in commands}
        for _ in range(ROUNDS):
            for name, command in commands.items():
                times[name].append(timed(command, folder))
        ups = []
        for _ in range(3):
            ups.append(timed([*PROGRAM, "up"], folder))
            subprocess.run([*PROGRAM, "down"], cwd=folder, check=True, stdout=subprocess.DEVNULL)
    medians = {name: statistics.median(values) for name, values in times.items()}
    summary = {f"{name}_s": value for name, value in medians.items()}
    summary["up_until_ready_s"] = statistics.median(ups)
    summary["help_vs_python"] = medians["help"] / medians["python"]
    show(summary)
    print(write("start", summary, {"times_s": times, "up_s": ups}, ("shipway", "typer", "pydantic", "sqlalchemy")))


if __name__ == "__main__":
    main()
